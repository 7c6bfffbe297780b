//! Counts of what has no call stack of its own, such as connections and tasks: the names that it belongs to stand
//! for the functions, the most general one outermost.

use std::time::{Duration, SystemTime};

use crate::proto::{Frame, Outline, ProfileWriter, ValueType};

/// So many under a path of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// From the most general to the most special.
    pub path: Vec<String>,
    pub count: u64,
}

/// The counts as a file of pprof.
pub fn counts(counts: &[Count]) -> Vec<u8> {
    let outline = Outline {
        values: &[ValueType {
            kind: "count",
            unit: "count",
        }],
        period: None,
        started: SystemTime::now(),
        duration: Duration::ZERO,
        dropped_functions: "",
        comment: String::new(),
    };
    let mut profile = ProfileWriter::new(&outline, Vec::new());
    for Count { path, count } in counts {
        let mut stack = Vec::with_capacity(path.len());
        for name in path.iter().rev() {
            let frame = Frame {
                function: name.clone(),
                file: String::new(),
                line: 0,
            };
            stack.push(profile.location(0, &[frame]));
        }
        profile.sample(&stack, &[*count], &[]);
    }
    profile.finish()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::{Count, counts};

    /// What is in a file, as far as it is text.
    pub(crate) fn unpacked(file: &[u8]) -> String {
        let mut bytes = Vec::new();
        GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn names_stand_for_functions() {
        let count = |path: &[&str], count| Count {
            path: path.iter().map(|name| (*name).to_owned()).collect(),
            count,
        };
        let file = counts(&[count(&["connections", "web"], 3), count(&["threads"], 2)]);
        let text = unpacked(&file);
        for name in ["connections", "web", "threads"] {
            assert_eq!(text.matches(name).count(), 1, "{name}");
        }
    }
}
