//! Writes what libFuzzer begins with: the seeds of every target as files, and the dictionary.
//!
//!     cargo run -p balance-fuzz --example seeds -- FOLDER

use std::fs;
use std::path::PathBuf;

use balance_fuzz::{TARGETS, TOKENS};

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.ok_or_else(|| anyhow::anyhow!("name a folder"))?);
    for target in TARGETS {
        let seeds = folder.join(target.name);
        fs::create_dir_all(&seeds)?;
        for (index, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(seeds.join(format!("seed-{index:04}")), seed)?;
        }
    }
    let words = TOKENS
        .iter()
        .map(|token| format!("\"{}\"\n", escape(token)));
    fs::write(folder.join("dictionary"), words.collect::<String>())?;
    Ok(())
}

/// libFuzzer knows `\\`, `\"` and `\xHH`.
fn escape(token: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    token.iter().map(escape).collect()
}
