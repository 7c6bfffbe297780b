#!/usr/bin/env python3
"""Holds the dependency graph against deny.toml: licences, banned crates, one version each, sources.

A subset of what cargo-deny does with the same file, without minutes of building it. Needs cargo and Python 3.11.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def packages(targets):
    """Every package that is built for one of the targets, by id.

    `cargo metadata` also resolves optional dependencies that only a weak feature (`ring?/std`) names; `cargo tree` knows
    that nobody switches them on.
    """
    found = {}
    for target in targets:
        tree = cargo(
            *("tree", "--locked", "--workspace", "--all-features", "--edges", "normal,build,dev"),
            *("--target", target, "--prefix", "none", "--format", "{p}"),
        )
        built = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
        graph = cargo(
            *("metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", target)
        )
        for package in json.loads(graph)["packages"]:
            if (package["name"], f"v{package['version']}") in built:
                found[package["id"]] = package
    return found


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences. AND binds tighter than OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either():
        verdict = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            verdict = both() or verdict
        return verdict

    def both():
        verdict = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            verdict = one() and verdict
        return verdict

    def one():
        token = tokens.pop(0)
        if token == "(":
            verdict = either()
            tokens.pop(0)
            return verdict
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    return either()


def is_skipped(name, version, skips):
    """`syn@2` stands for every version that begins with 2."""
    for skip in skips:
        skipped_name, _, prefix = skip["crate"].partition("@")
        if skipped_name == name and (version == prefix or version.startswith(prefix + ".")):
            return True
    return False


def problems(rules, found):
    allowed = set(rules["licenses"]["allow"])
    banned = {ban["crate"]: ban["reason"] for ban in rules["bans"]["deny"]}
    versions = defaultdict(set)
    for package in found.values():
        name, version, licence = package["name"], package["version"], package["license"]
        if not licence:
            yield f"{name} {version} names no licence"
        elif not is_allowed(licence, allowed):
            yield f"{name} {version}: its licence is not allowed: {licence}"
        if name in banned:
            yield f"{name} {version} is banned: {banned[name]}"
        source = package["source"]
        if source is not None and not source.startswith("registry+"):
            yield f"{name} {version} comes from {source}"
        if not is_skipped(name, version, rules["bans"]["skip"]):
            versions[name].add(version)
    for name, several in sorted(versions.items()):
        if len(several) > 1:
            yield f"{name} is there in several versions: {', '.join(sorted(several))}"
    for skip in rules["bans"]["skip"]:
        name = skip["crate"].partition("@")[0]
        if len({package["version"] for package in found.values() if package["name"] == name}) < 2:
            yield f"deny.toml skips {skip['crate']}, of which there is only one version"


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    found = packages(rules["graph"]["targets"])
    wrong = list(problems(rules, found))
    for problem in wrong:
        print(problem, file=sys.stderr)
    print(f"{len(found)} packages, {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
