//! Profiles of the whole run: files that are opened at the start, so that a mistake is known then, and written at the
//! end. And whether the heap is sampled, for those and for who asks while the process runs.

use std::fs::File;
use std::io::{self, Write};

use balance_config::{Config, Diagnostic, Place, Severity, Spanned};
use balance_profile::{CpuRecording, heap_profile, set_heap_profiling};

use crate::run::RunError;

/// Files that the command line names. They win over those of the configuration.
#[derive(Clone, Debug, Default)]
pub struct ProfileFiles {
    pub cpu: Option<String>,
    pub mem: Option<String>,
}

/// What is recorded of this run.
pub(crate) struct RunProfiles {
    cpu: Option<(ProfileFile, CpuRecording)>,
    mem: Option<ProfileFile>,
    is_heap_sampled: bool,
}

impl RunProfiles {
    /// Opens the files and begins to record.
    ///
    /// # Errors
    /// A file cannot be written, or what it should hold cannot be recorded: with its place in the configuration,
    /// unless the command line has named it.
    pub(crate) fn start(named: &ProfileFiles, config: &Config) -> Result<Self, RunError> {
        let profiling = config.profiling.as_ref();
        let cpu = ProfileFile::create(
            named.cpu.as_deref(),
            profiling.and_then(|profiling| profiling.cpu_profile.as_ref()),
        )?;
        let mem = ProfileFile::create(
            named.mem.as_deref(),
            profiling.and_then(|profiling| profiling.mem_profile.as_ref()),
        )?;
        let mut profiles = Self {
            cpu: None,
            mem: None,
            is_heap_sampled: false,
        };
        if let Some(mem) = mem {
            set_heap_profiling(true).map_err(|error| mem.refusal(&error.to_string()))?;
            profiles.is_heap_sampled = true;
            profiles.mem = Some(mem);
        }
        if let Some(cpu) = cpu {
            let recording =
                CpuRecording::start().map_err(|error| cpu.refusal(&error.to_string()))?;
            profiles.cpu = Some((cpu, recording));
        }
        profiles.follow(config);
        Ok(profiles)
    }

    /// Samples the heap while there is somebody who may ask for it.
    pub(crate) fn follow(&mut self, config: &Config) {
        let is_wanted = self.mem.is_some() || config.profiling.is_some();
        if is_wanted == self.is_heap_sampled {
            return;
        }
        match set_heap_profiling(is_wanted) {
            Ok(()) => self.is_heap_sampled = is_wanted,
            Err(error) => tracing::warn!(%error, "there will be no heap profile"),
        }
    }

    /// Writes the files.
    pub(crate) fn finish(self) {
        if let Some((file, recording)) = self.cpu {
            file.write(recording.finish());
        }
        if let Some(file) = self.mem {
            file.write(heap_profile());
        }
    }
}

/// A file that gets a profile.
struct ProfileFile {
    path: String,
    file: File,
    /// Where the configuration names it.
    place: Option<Place>,
}

impl ProfileFile {
    fn create(
        named: Option<&str>,
        configured: Option<&Spanned<String>>,
    ) -> Result<Option<Self>, RunError> {
        let (path, place) = match (named, configured) {
            (Some(path), _) => (path, None),
            (None, Some(configured)) => (configured.value.as_str(), Some(configured.place.clone())),
            (None, None) => return Ok(None),
        };
        match File::create(path) {
            Ok(file) => Ok(Some(Self {
                path: path.to_owned(),
                file,
                place,
            })),
            Err(error) => Err(refusal(
                path,
                place.as_ref(),
                &format!("cannot be written: {error}"),
            )),
        }
    }

    fn refusal(&self, reason: &str) -> RunError {
        refusal(&self.path, self.place.as_ref(), reason)
    }

    fn write<E: std::error::Error>(mut self, profile: Result<Vec<u8>, E>) {
        let path = &self.path;
        let written: io::Result<()> = match profile {
            Ok(profile) => self.file.write_all(&profile),
            Err(error) => {
                tracing::error!(path, %error, "there is no profile");
                return;
            }
        };
        match written {
            Ok(()) => tracing::info!(path, "the profile is written"),
            Err(error) => tracing::error!(path, %error, "the profile cannot be written"),
        }
    }
}

fn refusal(path: &str, place: Option<&Place>, reason: &str) -> RunError {
    let message = format!("the profile {path}: {reason}");
    match place {
        Some(place) => RunError::Config(vec![Diagnostic::new(Severity::Error, place, message)]),
        None => RunError::Profile(message),
    }
}
