#!/usr/bin/env python3
"""Holds JSON documents against a JSON Schema, with the package jsonschema.

Standard input: {"schema": …, "documents": […]}. Standard output: for each document an empty text, or what is
wrong with it. Exit code 3: the package is not there.
"""

import json
import sys

try:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
except ImportError:
    sys.exit(3)


def main():
    task = json.load(sys.stdin)
    Draft202012Validator.check_schema(task["schema"])
    validator = Draft202012Validator(task["schema"])
    verdicts = []
    for document in task["documents"]:
        error = best_match(validator.iter_errors(document))
        verdicts.append("" if error is None else f"{error.json_path}: {error.message}"[:500])
    json.dump(verdicts, sys.stdout)


main()
