//! Certificates that end: a gauge for those who watch, and warnings for those who do not.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use balance_telemetry::{Collect, Samples};

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    pub(crate) owner: Owner,
    /// The name of its file.
    pub(crate) certificate: String,
    pub(crate) not_after: SystemTime,
}

/// Who shows a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Listener(String),
    Pool(String),
}

/// When they end, for whoever scrapes. Clones show the same.
#[derive(Clone, Default)]
pub(crate) struct ExpiryGauges {
    certificates: Arc<ArcSwap<Vec<Expiring>>>,
}

impl ExpiryGauges {
    pub(crate) fn set(&self, certificates: Vec<Expiring>) {
        self.certificates.store(Arc::new(certificates));
    }
}

impl Owner {
    fn label(&self) -> (&'static str, &str) {
        match self {
            Self::Listener(name) => ("listener", name),
            Self::Pool(name) => ("pool", name),
        }
    }
}

impl Collect for ExpiryGauges {
    fn collect(&self, samples: &mut Samples) {
        for one in self.certificates.load().iter() {
            let since_epoch = one.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
            samples.gauge(
                "balance_tls_certificate_expiry_timestamp_seconds",
                "When a certificate ends.",
                &[one.owner.label(), ("certificate", &one.certificate)],
                since_epoch.as_secs_f64(),
            );
        }
    }
}

/// Which warnings about a certificate were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warned {
    /// The shortest time that one was about.
    days: Option<u64>,
}

impl Warned {
    /// Warns once for each of the times that has come.
    pub(crate) fn warn(&mut self, not_after: SystemTime, now: SystemTime, file: &str) {
        if let Some(left) = self.due(not_after, now) {
            let days = left.as_secs() / DAY_SECONDS;
            tracing::warn!(
                certificate = file,
                days,
                "a certificate ends soon: renew it"
            );
        }
    }

    /// The time that is left, if a warning about it is due. What has ended is told when it is read.
    fn due(&mut self, not_after: SystemTime, now: SystemTime) -> Option<Duration> {
        let left = not_after.duration_since(now).ok()?;
        let reached = WARNED_DAYS
            .into_iter()
            .filter(|days| left.as_secs() < days * DAY_SECONDS)
            .min()?;
        let is_due = self.days.is_none_or(|days| reached < days);
        self.days = Some(reached);
        is_due.then_some(left)
    }
}

const WARNED_DAYS: [u64; 3] = [30, 7, 1];
const DAY_SECONDS: u64 = 24 * 3_600;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{DAY_SECONDS, Warned};

    #[test]
    fn a_certificate_is_warned_about_three_times() {
        let not_after = UNIX_EPOCH + Duration::from_secs(100 * DAY_SECONDS);
        let mut warned = Warned::default();
        let hours = (0..101 * 24).map(|hour| Duration::from_secs(hour * 3_600));
        let due: Vec<u64> = hours
            .filter_map(|passed| warned.due(not_after, UNIX_EPOCH + passed))
            .map(|left| left.as_secs() / DAY_SECONDS)
            .collect();
        assert_eq!(due, [29, 6, 0]);
    }
}
