//! Results as named samples, from whatever wrote them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

/// Metric → its samples, one for each round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Samples(BTreeMap<String, Vec<f64>>);

impl Samples {
    /// Reads a file, a folder of files, or FOLDER:BASELINE.
    ///
    /// # Errors
    /// It cannot be read, or has no result in it.
    pub(super) fn read(place: &str) -> anyhow::Result<Self> {
        let mut samples = Self::default();
        let path = Path::new(place);
        if path.is_dir() {
            for file in files(path)?
                .iter()
                .filter(|file| has_name(file, |n| n.ends_with(".json")))
            {
                samples.read_file(file)?;
            }
        } else if path.exists() {
            samples.read_file(path)?;
        } else if let Some((folder, baseline)) = place.rsplit_once(':') {
            samples.read_baseline(Path::new(folder), baseline)?;
        } else {
            anyhow::bail!("there is no {place}");
        }
        anyhow::ensure!(!samples.0.is_empty(), "{place} has no result in it");
        Ok(samples)
    }

    pub(super) fn metrics(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.0
            .iter()
            .map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    pub(super) fn metric(&self, name: &str) -> Option<&[f64]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// One result after another.
    fn read_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            self.add(&value.with_context(|| format!("{} is no JSON", path.display()))?);
        }
        Ok(())
    }

    fn add(&mut self, value: &Value) {
        if let Value::Array(values) = value {
            values.iter().for_each(|each| self.add(each));
        } else if let Some(scenarios) = value["scenarios"].as_object() {
            scenarios
                .iter()
                .for_each(|(name, scenario)| self.add_scenario(name, scenario));
        } else {
            self.add_load(value);
        }
    }

    /// A result of `balance bench`.
    fn add_load(&mut self, value: &Value) {
        for metric in [
            "requests_per_second",
            "bytes_per_second",
            "cpu_us_per_request",
            "cpu_s_per_gb",
        ] {
            self.push(metric, &value[metric]);
        }
        // The maximum is left out: it is one request of all.
        for quantile in ["p50", "p90", "p95", "p99", "p999"] {
            self.push(
                &format!("latency_us.{quantile}"),
                &value["latency_us"][quantile],
            );
        }
    }

    /// A scenario of benchmark/compare.sh: rounds of every proxy.
    fn add_scenario(&mut self, name: &str, scenario: &Value) {
        for (proxy, rounds) in scenario["samples"].as_object().into_iter().flatten() {
            for round in rounds.as_array().into_iter().flatten() {
                for metric in [
                    "cpu_us_per_request",
                    "requests_per_second",
                    "p50_us",
                    "p99_us",
                ] {
                    self.push(&format!("{name}/{proxy}/{metric}"), &round[metric]);
                }
            }
        }
    }

    /// Baselines as criterion keeps them: NAME/BASELINE/sample.json, with the time of so many iterations in each sample.
    fn read_baseline(&mut self, folder: &Path, baseline: &str) -> anyhow::Result<()> {
        let end = Path::new(baseline).join("sample.json");
        for file in files(folder)?.iter().filter(|file| file.ends_with(&end)) {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let sample: Value = serde_json::from_str(&text)
                .with_context(|| format!("{} is no JSON", file.display()))?;
            let name = file.strip_prefix(folder).unwrap_or(file);
            let name = name
                .ancestors()
                .nth(2)
                .unwrap_or(name)
                .display()
                .to_string();
            let numbers = |key: &str| {
                let array = sample[key].as_array().into_iter().flatten();
                array.filter_map(Value::as_f64).collect::<Vec<_>>()
            };
            for (nanos, iterations) in numbers("times").iter().zip(numbers("iters")) {
                self.push(&format!("{name} ns"), &(nanos / iterations).into());
            }
        }
        Ok(())
    }

    /// What was not measured is null or missing.
    fn push(&mut self, metric: &str, value: &Value) {
        if let Some(value) = value.as_f64() {
            self.0.entry(metric.to_owned()).or_default().push(value);
        }
    }
}

/// All files below, in the order of their names.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

fn has_name(path: &Path, is_right: impl Fn(&str) -> bool) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(is_right)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use balance_testkit::TempDir;

    use super::Samples;

    fn names(samples: &Samples) -> Vec<&str> {
        samples.metrics().map(|(name, _)| name).collect()
    }

    #[test]
    fn results_after_one_another_and_in_a_folder_are_rounds() {
        let folder = TempDir::new("compare").unwrap();
        let result = |rate| {
            format!(
                r#"{{"requests_per_second":{rate},"latency_us":{{"p99":7,"max":9}},"cpu_us_per_request":null}}"#
            )
        };
        fs::write(folder.path().join("a.json"), result(1) + "\n" + &result(2)).unwrap();
        fs::write(folder.path().join("b.json"), format!("[{}]", result(3))).unwrap();
        fs::write(folder.path().join("c.txt"), "not a result").unwrap();
        let samples = Samples::read(&folder.path().display().to_string()).unwrap();
        assert_eq!(names(&samples), ["latency_us.p99", "requests_per_second"]);
        assert_eq!(
            samples.metric("requests_per_second"),
            Some(&[1.0, 2.0, 3.0][..])
        );
    }

    #[test]
    fn a_comparison_with_peers_has_every_proxy() {
        let folder = TempDir::new("compare").unwrap();
        let path = folder.path().join("compare.json");
        let text = r#"{"scenarios":{"h1-64":{"samples":{"balance":[{"cpu_us_per_request":15.5,"p99_us":null},{"cpu_us_per_request":16}]}}}}"#;
        fs::write(&path, text).unwrap();
        let samples = Samples::read(&path.display().to_string()).unwrap();
        assert_eq!(
            samples.metric("h1-64/balance/cpu_us_per_request"),
            Some(&[15.5, 16.0][..])
        );
        assert_eq!(names(&samples).len(), 1);
    }

    #[test]
    fn baselines_have_the_time_of_one_iteration() {
        let folder = TempDir::new("compare").unwrap();
        let place = folder.path().join("router/exact/main");
        fs::create_dir_all(&place).unwrap();
        fs::write(
            place.join("sample.json"),
            r#"{"iters":[10,20],"times":[100,300]}"#,
        )
        .unwrap();
        fs::create_dir_all(folder.path().join("router/exact/new")).unwrap();
        fs::write(folder.path().join("router/exact/new/sample.json"), "{}").unwrap();
        let samples = Samples::read(&format!("{}:main", folder.path().display())).unwrap();
        assert_eq!(samples.metric("router/exact ns"), Some(&[10.0, 15.0][..]));
    }

    #[test]
    fn what_is_no_result_is_said() {
        let folder = TempDir::new("compare").unwrap();
        let path = folder.path().join("a.json");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            Samples::read(&path.display().to_string())
                .unwrap_err()
                .to_string()
        };
        assert!(read("{").contains("no JSON"));
        assert!(read("{}").contains("no result"));
        assert!(
            Samples::read("/nowhere")
                .unwrap_err()
                .to_string()
                .contains("/nowhere")
        );
    }
}
