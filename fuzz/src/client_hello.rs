//! Client hellos: a verdict that stands, whatever records the message comes in, and the names that were put in.

use balance_proto::client_hello::{
    CLIENT_HELLO_BYTES_MAX, ClientHello, ClientHelloError, Progress, parse,
};
use balance_testkit::sm_data::client_hello_rows;

use crate::input::Input;

/// What a connection begins with; the same bytes also choose the parts of a hello that is well-formed.
pub fn check(input: &[u8]) {
    verdict_stands(input);
    cut_into_other_records(input);
    built_hellos_are_read(input);
}

/// The table of balance-proto.
pub fn seeds() -> Vec<Vec<u8>> {
    let rows = client_hello_rows().into_iter().map(|row| row.input);
    rows.filter(|input| input.len() <= 2048).collect()
}

/// More bytes complete a hello or show what is wrong with it; they never change what was said.
fn verdict_stands(input: &[u8]) {
    let whole = parse(input);
    let step = if input.len() > 300 { 7 } else { 1 };
    for length in (0..input.len()).step_by(step) {
        match parse(&input[..length]) {
            Ok(Progress::Partial) => {
                assert!(
                    length < CLIENT_HELLO_BYTES_MAX,
                    "waits for more than it reads"
                );
            }
            verdict => assert_eq!(verdict, whole, "after {length} bytes"),
        }
    }
    if let Ok(Progress::Complete(hello)) = &whole {
        is_one_name(hello);
    }
}

fn is_one_name(hello: &ClientHello) {
    if let Some(name) = hello.server_name() {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_name_byte), "{name}");
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
        assert!(!name.starts_with('.') && !name.ends_with('.'), "{name}");
    }
    assert!(hello.protocols().all(|name| !name.is_empty()));
}

/// The record layer means nothing: the same message in records of three bytes is the same hello.
fn cut_into_other_records(input: &[u8]) {
    let Ok(Progress::Complete(hello)) = parse(input) else {
        return;
    };
    let mut message = Vec::new();
    let mut rest = input;
    while let [_, _, _, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        message.extend_from_slice(&after[..length]);
        rest = &after[length..];
        let length = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        };
        if message.len() >= 4 && message.len() >= 4 + length(&message[1..4]) {
            message.truncate(4 + length(&message[1..4]));
            break;
        }
    }
    let records: Vec<u8> = message.chunks(3).flat_map(record).collect();
    let expected = if records.len() <= CLIENT_HELLO_BYTES_MAX {
        Ok(Progress::Complete(hello))
    } else {
        Err(ClientHelloError::TooLong)
    };
    assert_eq!(parse(&records), expected);
}

/// A hello made by the rules: its name and its protocols are found.
fn built_hellos_are_read(input: &[u8]) {
    let mut input = Input::new(input);
    let label = |input: &mut Input<'_>| -> String {
        let length = 1 + input.below(12);
        (0..length)
            .map(|_| char::from(b'a' + input.byte() % 26))
            .collect()
    };
    let name: Vec<String> = (0..1 + input.below(4)).map(|_| label(&mut input)).collect();
    let name = name.join(".");
    let protocols: Vec<String> = (0..input.below(4)).map(|_| label(&mut input)).collect();
    let other = input.text();
    let other = &other[..other.len().min(200)];

    let entry = [&[0][..], &block16(name.to_ascii_uppercase().as_bytes())].concat();
    let mut extensions = extension(0x2a2a, other);
    extensions.extend(extension(0, &block16(&entry)));
    if !protocols.is_empty() {
        let list: Vec<u8> = protocols
            .iter()
            .flat_map(|one| [&[one.len() as u8][..], one.as_bytes()].concat())
            .collect();
        extensions.extend(extension(16, &block16(&list)));
    }
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &block16(&[0x13, 1]),
        &[1, 0],
        &block16(&extensions),
    ]
    .concat();
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    let Ok(Progress::Complete(hello)) = parse(&record(&message)) else {
        panic!("{name} {protocols:?}: {:?}", parse(&record(&message)));
    };
    assert_eq!(hello.server_name(), Some(name.as_str()));
    let found: Vec<&[u8]> = hello.protocols().collect();
    let wanted: Vec<&[u8]> = protocols.iter().map(|one| one.as_bytes()).collect();
    assert_eq!(found, wanted);
}

fn record(fragment: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &block16(fragment)].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &block16(data)].concat()
}

fn block16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes()[..], bytes].concat()
}
