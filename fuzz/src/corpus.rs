//! The inputs that a target begins with.

use std::fs;
use std::path::PathBuf;

use balance_testkit::sm_data::{Row, request_rows, response_rows};

use crate::Target;

/// The seeds of a target and the files of its folder in `corpus/`.
///
/// # Errors
/// The folder or a file of it cannot be read.
pub fn load(target: &Target) -> std::io::Result<Vec<Vec<u8>>> {
    let mut paths = fs::read_dir(folder(target))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    // The order decides which inputs a seed stands for.
    paths.sort();
    let mut inputs = (target.seeds)();
    for path in paths {
        inputs.push(fs::read(path)?);
    }
    Ok(inputs)
}

/// Where the files of a target are.
pub fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name)
}

/// What clients send in the tables of balance-proto.
pub(crate) fn request_inputs() -> Vec<Vec<u8>> {
    short_inputs(request_rows())
}

/// What backends send in the tables of balance-proto.
pub(crate) fn response_inputs() -> Vec<Vec<u8>> {
    short_inputs(response_rows())
}

/// Rows about limits are long and slow, and have tests of their own.
fn short_inputs(rows: Vec<Row>) -> Vec<Vec<u8>> {
    rows.into_iter()
        .map(|row| row.input)
        .filter(|input| input.len() <= 2048)
        .collect()
}

/// Each input with this byte before it: the target's choices.
pub(crate) fn with_choice(choice: u8, inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    inputs
        .into_iter()
        .map(|input| [&[choice], input.as_slice()].concat())
        .collect()
}
