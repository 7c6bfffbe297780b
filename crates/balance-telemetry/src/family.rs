//! Metrics as a scrape sees them: families of samples, whoever supplied them.

use crate::histogram::HistogramTotals;

/// Supplies, at scrape time, what others own: health of backends, requests in flight, breaker states.
pub trait Collect: Send + Sync {
    /// Adds its samples. Called on the scraping thread; should not wait.
    fn collect(&self, samples: &mut Samples);
}

impl<F: Fn(&mut Samples) + Send + Sync> Collect for F {
    fn collect(&self, samples: &mut Samples) {
        self(samples);
    }
}

/// All samples of one metric name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Without the `_total` of counters and the `_info` of infos: the encoder adds them.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

/// What the numbers of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    Gauge,
    Histogram,
    /// Constant 1; the labels are the message.
    Info,
}

/// One number (or histogram) and its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: Value,
}

/// A sample's number.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(u64),
    Float(f64),
    Histogram(Box<HistogramTotals>),
}

/// The families of one scrape while they are being gathered, in the order of their first sample.
#[derive(Debug, Default)]
pub struct Samples {
    families: Vec<Family>,
}

impl Samples {
    /// Adds one sample. Those of one name come out together whatever the order of the calls is, and
    /// `help` and kind of the first call hold.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.add(Kind::Gauge, name, help, labels, Value::Float(value));
    }

    /// As [`Samples::gauge`]. `name` has no `_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.add(Kind::Counter, name, help, labels, Value::Integer(value));
    }

    /// As [`Samples::gauge`], for what comes in any kind.
    pub fn add(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Value,
    ) {
        let labels = labels
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        let family = self.family(kind, name, help);
        family.samples.push(Sample { labels, value });
    }

    /// What was gathered.
    pub fn into_families(self) -> Vec<Family> {
        self.families
    }

    fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> &mut Family {
        // From the end: samples of one family mostly come in a row.
        let found = self.families.iter().rposition(|family| family.name == name);
        let index = found.unwrap_or_else(|| {
            let samples = Vec::new();
            self.families.push(Family {
                name,
                help,
                kind,
                samples,
            });
            self.families.len() - 1
        });
        &mut self.families[index]
    }
}
