//! From addresses to functions, by the symbols of the binary and its libraries.
//!
//! A release build has names and no lines (`strip = "debuginfo"`), so calls that were inlined are counted to their
//! caller there; a build with debug information shows both.

use std::collections::HashMap;
use std::ffi::c_void;
use std::io;

use crate::proto::{Frame, LocationId, Mapping, ProfileWriter};

/// What is mapped as code in this process.
#[derive(Clone, Debug)]
pub(crate) struct CodeMap(Vec<Mapping>);

impl CodeMap {
    /// # Errors
    /// /proc is not there.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        Ok(Self(maps.lines().filter_map(parse_code).collect()))
    }

    pub(crate) fn mappings(&self) -> &[Mapping] {
        &self.0
    }

    pub(crate) fn holds(&self, address: u64) -> bool {
        self.0
            .iter()
            .any(|mapping| (mapping.start..mapping.end).contains(&address))
    }
}

/// Writes the locations of stacks into a profile, each once.
#[derive(Default)]
pub(crate) struct Locations {
    /// By address and by whether it is where a call returns to.
    known: HashMap<(u64, bool), LocationId>,
}

impl Locations {
    /// The locations of a stack, whose first address is the interrupted instruction and whose others are
    /// where calls return to.
    pub(crate) fn of(&mut self, stack: &[u64], profile: &mut ProfileWriter) -> Vec<LocationId> {
        let places = stack.iter().enumerate();
        places
            .map(|(depth, address)| self.location(*address, depth > 0, profile))
            .collect()
    }

    fn location(
        &mut self,
        address: u64,
        is_return: bool,
        profile: &mut ProfileWriter,
    ) -> LocationId {
        *self.known.entry((address, is_return)).or_insert_with(|| {
            // A call may be the last instruction of its function: what it returns to belongs to the next one.
            let call = if is_return {
                address.saturating_sub(1)
            } else {
                address
            };
            profile.location(call, &frames(call))
        })
    }
}

/// The functions at an address, the innermost first. One that is not known has its address for a name.
fn frames(address: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    // backtrace takes what it is given for a return address and looks one byte before it.
    let pointer: *mut c_void = std::ptr::without_provenance_mut(address as usize + 1);
    backtrace::resolve(pointer, |symbol| {
        let Some(name) = symbol.name() else { return };
        frames.push(Frame {
            // Without the hash that tells generic instances apart.
            function: format!("{name:#}"),
            file: symbol
                .filename()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            line: symbol.lineno().unwrap_or(0),
        });
    });
    if frames.is_empty() {
        frames.push(Frame {
            function: format!("{address:#x}"),
            file: String::new(),
            line: 0,
        });
    }
    frames
}

/// A line of /proc/PID/maps (proc_pid_maps(5)) that is executable.
fn parse_code(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    // Its name may have spaces; device and inode come before.
    let file = fields.skip(2).collect::<Vec<_>>().join(" ");
    permissions.contains('x').then_some(())?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::{CodeMap, frames, parse_code};
    use crate::proto::Mapping;

    #[inline(never)]
    fn a_function_of_this_test() {}

    #[test]
    fn a_function_is_found_by_its_address() {
        let address = a_function_of_this_test as fn() as usize as u64;
        assert!(CodeMap::of_this_process().unwrap().holds(address));
        let names: Vec<String> = frames(address)
            .into_iter()
            .map(|frame| frame.function)
            .collect();
        assert!(names[0].ends_with("a_function_of_this_test"), "{names:?}");
        assert_eq!(frames(1)[0].function, "0x1");
    }

    #[test]
    fn only_code_is_mapped() {
        let code = "7f00-7fff r-xp 00001000 08:01 1234    /usr/bin/with space\n";
        let expected = Mapping {
            start: 0x7f00,
            end: 0x7fff,
            offset: 0x1000,
            file: "/usr/bin/with space".to_owned(),
        };
        assert_eq!(parse_code(code), Some(expected));
        assert_eq!(parse_code("7f00-7fff rw-p 00000000 00:00 0 [stack]"), None);
        assert_eq!(parse_code("nonsense"), None);
    }
}
