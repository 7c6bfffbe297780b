//! What the command line asks for besides what criterion knows.

/// The value of a flag of ours, where it is given.
pub(crate) fn value_of(flag: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != flag);
    args.next()?;
    Some(args.next().expect("a flag of ours has a value"))
}

/// What the names of the wanted operations contain: the first argument that is neither a flag nor the value of one of ours.
pub(crate) fn filter() -> String {
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if OURS.contains(&arg.as_str()) {
            args.next();
        } else if !arg.starts_with('-') {
            return arg;
        }
    }
    String::new()
}

const OURS: [&str; 3] = ["--profile-cpu", "--profile-mem", "--count-instructions"];
