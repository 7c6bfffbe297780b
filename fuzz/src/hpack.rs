//! Header compression: one verdict and one list of fields with a second decoder, over all blocks of a connection.

use balance_proto::FieldClass;
use balance_proto::http2::hpack::{
    DecodeError, DecodedField, DecodedList, Decoder, Encoder, FieldSink, NameKind,
};
use fluke_hpack::decoder::DecoderError;

/// Blocks, each with its length in a byte before it.
pub fn check(input: &[u8]) {
    let mut ours = Decoder::new(Decoder::TABLE_SIZE_DEFAULT);
    let mut other = fluke_hpack::Decoder::new();
    other.set_max_allowed_table_size(Decoder::TABLE_SIZE_DEFAULT);
    let mut rest = input;
    while let Some((length, tail)) = rest.split_first() {
        let (block, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        let mut fields = Fields::default();
        let seen = ours.decode(block, usize::MAX, &mut fields);
        // It takes changes of the size anywhere, and does not survive one that is cut off.
        let is_about_size = seen == Err(DecodeError::SizeUpdateMisplaced)
            || seen.is_err() && matches!(block.first(), Some(0x20..=0x3f));
        if is_about_size {
            return;
        }
        match (seen, other.decode(block)) {
            // It refuses them where no field follows.
            (Ok(_), Err(DecoderError::SizeUpdateAtEnd)) => return,
            (Err(_), Err(_)) => return,
            (Ok(list), Ok(others)) => {
                assert_eq!(list, DecodedList::Whole);
                assert_eq!(fields.0, others);
                encoded_again_is_the_same(&fields.0);
            }
            (ours, other) => panic!("{ours:?}, the other decoder: {other:?}"),
        }
    }
}

/// Connections of an encoder that inserts everything, and the examples of RFC 7541 Appendix C.
pub fn seeds() -> Vec<Vec<u8>> {
    let requests: [&[(&[u8], &[u8])]; 3] = [
        &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/a?b"),
            (b"user-agent", b"x/1.0"),
            (b"cookie", b"a=b"),
        ],
        &[
            (b":status", b"200"),
            (b"content-type", b"text/plain"),
            (b"x-own", b""),
        ],
        &[(b"grpc-status", b"0"), (b"X-Upper", b" padded ")],
    ];
    let mut encoder = fluke_hpack::Encoder::new();
    let mut blocks: Vec<Vec<u8>> = requests
        .iter()
        .chain(&requests)
        .map(|fields| encoder.encode(fields.iter().copied()))
        .collect();
    // C.4.1, C.4.2, C.4.3: with Huffman coding.
    blocks.push(b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff".to_vec());
    blocks.push(b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf".to_vec());
    blocks.push(
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"
            .to_vec(),
    );
    // The table emptied, and its size set back.
    blocks.push(b"\x20\x3f\xe1\x1f\x82".to_vec());
    let all = blocks.iter().flat_map(|block| framed(block)).collect();
    let mut seeds: Vec<Vec<u8>> = blocks.iter().map(|block| framed(block)).collect();
    seeds.push(all);
    seeds
}

fn framed(block: &[u8]) -> Vec<u8> {
    let length = u8::try_from(block.len()).expect("a short block");
    [&[length], block].concat()
}

#[derive(Default)]
struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

impl FieldSink for Fields {
    fn on_field(&mut self, field: DecodedField<'_>) {
        assert_eq!(field.kind, NameKind::of(field.name), "kept with the entry");
        self.0.push((field.name.to_vec(), field.value.to_vec()));
    }
}

/// Both decoders read in what we write what we read. Names are written in lower case.
fn encoded_again_is_the_same(fields: &[(Vec<u8>, Vec<u8>)]) {
    let mut block = Vec::new();
    let mut encoder = Encoder::default();
    encoder.begin(&mut block);
    for (name, value) in fields {
        match name.as_slice() {
            b":method" => encoder.push_method(&mut block, value),
            b":scheme" => encoder.push_scheme(&mut block, value),
            b":authority" => encoder.push_authority(&mut block, value),
            b":path" => encoder.push_path(&mut block, value),
            _ => encoder.push_field(&mut block, name, value, FieldClass::of(name)),
        }
    }
    let lower = |(name, value): &(Vec<u8>, Vec<u8>)| (name.to_ascii_lowercase(), value.clone());
    let expected: Vec<_> = fields.iter().map(lower).collect();
    let mut seen = Fields::default();
    let list = Decoder::new(Decoder::TABLE_SIZE_DEFAULT).decode(&block, usize::MAX, &mut seen);
    assert_eq!(list, Ok(DecodedList::Whole));
    assert_eq!(seen.0, expected);
    if !expected.is_empty() {
        let other = fluke_hpack::Decoder::new().decode(&block);
        assert_eq!(other.expect("the other decoder reads it"), expected);
    }
}
