//! The configuration's sources on the real file system.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use balance_config::Sources;

/// Files and environment variables of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemSources;

impl Sources for SystemSources {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a folder",
            ));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// Knows `*` in the last component, which stands for any characters; hidden files only match a pattern
    /// that begins with a dot, as in a shell.
    fn list(&self, pattern: &str) -> io::Result<Vec<String>> {
        let path = Path::new(pattern);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Ok(Vec::new());
        };
        if !name.contains('*') {
            return Ok(if path.exists() {
                vec![pattern.to_owned()]
            } else {
                Vec::new()
            });
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let mut found = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?.file_name();
            if let Some(entry) = entry.to_str().filter(|entry| is_match(name, entry)) {
                let entry = folder.map_or_else(|| entry.into(), |folder| folder.join(entry));
                found.extend(entry.to_str().map(str::to_owned));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Whether `name` matches a pattern whose `*` stand for any characters.
fn is_match(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        // The earliest place leaves the most for the others.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn stars_stand_for_anything() {
        let check = |pattern, name, expected| {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        };
        check("*.yaml", "a.yaml", true);
        check("*.yaml", "a.yml", false);
        check("*.yaml", ".a.yaml", false);
        check(".*.yaml", ".a.yaml", true);
        check("a*b*c", "abc", true);
        check("a*b*c", "axbxbc", true);
        check("a*b*c", "acb", false);
        check("a*a", "a", false);
        check("a", "a", true);
        check("a", "ab", false);
        check("*", "anything", true);
    }
}
