use super::dynamic_table::{DynamicTable, NewName};
use super::huffman::{self, HuffmanError, LENGTHS};
use super::integer::{self, IntegerError};
use super::{
    DecodeError, DecodedField, DecodedList, Decoder, Encoder, FieldSink, NameKind, Pseudo,
    static_table,
};
use crate::field::FieldClass;

/// Fields as `name: value`.
#[derive(Default)]
struct Texts(Vec<String>);

impl FieldSink for Texts {
    fn on_field(&mut self, field: DecodedField<'_>) {
        let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
        self.0.push(format!("{name}: {value}"));
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut texts = Texts::default();
    let list = decoder.decode(block, usize::MAX, &mut texts)?;
    assert_eq!(list, DecodedList::Whole);
    Ok(texts.0)
}

/// The blocks of one connection of RFC 7541 Appendix C, each with its fields.
type Vectors = (&'static str, usize, &'static [(&'static str, &'static str)]);

const VECTORS: &[Vectors] = &[
    (
        "C.2.1",
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key: custom-header",
        )],
    ),
    (
        "C.2.2",
        4096,
        &[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path")],
    ),
    (
        "C.2.3",
        4096,
        &[(
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            "password: secret",
        )],
    ),
    ("C.2.4", 4096, &[("82", ":method: GET")]),
    (
        "C.3",
        4096,
        &[
            (
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                ":method: GET|:scheme: http|:path: /|:authority: www.example.com",
            ),
            (
                "8286 84be 5808 6e6f 2d63 6163 6865",
                ":method: GET|:scheme: http|:path: /|:authority: www.example.com|cache-control: no-cache",
            ),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                ":method: GET|:scheme: https|:path: /index.html|:authority: www.example.com|custom-key: custom-value",
            ),
        ],
    ),
    (
        "C.4",
        4096,
        &[
            (
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                ":method: GET|:scheme: http|:path: /|:authority: www.example.com",
            ),
            (
                "8286 84be 5886 a8eb 1064 9cbf",
                ":method: GET|:scheme: http|:path: /|:authority: www.example.com|cache-control: no-cache",
            ),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                ":method: GET|:scheme: https|:path: /index.html|:authority: www.example.com|custom-key: custom-value",
            ),
        ],
    ),
    (
        "C.5",
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                ":status: 302|cache-control: private|date: Mon, 21 Oct 2013 20:13:21 GMT|location: https://www.example.com",
            ),
            (
                "4803 3330 37c1 c0bf",
                ":status: 307|cache-control: private|date: Mon, 21 Oct 2013 20:13:21 GMT|location: https://www.example.com",
            ),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                ":status: 200|cache-control: private|date: Mon, 21 Oct 2013 20:13:22 GMT|location: https://www.example.com|content-encoding: gzip|set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ],
    ),
    (
        "C.6",
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                ":status: 302|cache-control: private|date: Mon, 21 Oct 2013 20:13:21 GMT|location: https://www.example.com",
            ),
            (
                "4883 640e ffc1 c0bf",
                ":status: 307|cache-control: private|date: Mon, 21 Oct 2013 20:13:21 GMT|location: https://www.example.com",
            ),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                ":status: 200|cache-control: private|date: Mon, 21 Oct 2013 20:13:22 GMT|location: https://www.example.com|content-encoding: gzip|set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ],
    ),
];

#[test]
fn the_examples_of_the_rfc_are_decoded() {
    for (name, table_size, blocks) in VECTORS {
        let mut decoder = Decoder::new(*table_size);
        for (hex, fields) in *blocks {
            let seen = decode(&mut decoder, &bytes_of(hex)).unwrap();
            assert_eq!(seen.join("|"), *fields, "{name}");
        }
    }
}

/// What a block of one connection must not contain.
const REFUSED: &[(&str, &str, DecodeError)] = &[
    ("index 0 (§6.1)", "80", DecodeError::IndexInvalid),
    (
        "behind the static table (§2.3.3)",
        "be",
        DecodeError::IndexInvalid,
    ),
    ("far behind all tables", "ffff0f", DecodeError::IndexInvalid),
    (
        "a name behind all tables",
        "7f0000",
        DecodeError::IndexInvalid,
    ),
    (
        "an integer that does not end (§5.1)",
        "ff80808080",
        DecodeError::Truncated,
    ),
    (
        "an integer of five octets",
        "ff8080808000",
        DecodeError::IntegerTooLarge,
    ),
    (
        "an integer padded with zeros",
        "ff808080808000",
        DecodeError::IntegerTooLarge,
    ),
    (
        "a string length of five octets",
        "007f8080808000",
        DecodeError::IntegerTooLarge,
    ),
    ("a literal without name", "40", DecodeError::Truncated),
    ("a literal without value", "4001 61", DecodeError::Truncated),
    (
        "a name that is cut off (§5.2)",
        "4002 61",
        DecodeError::Truncated,
    ),
    (
        "a value that is cut off",
        "4001 6105 6162",
        DecodeError::Truncated,
    ),
    (
        "the end-of-string symbol (§5.2)",
        "0084 ffff fffc 00",
        DecodeError::EndOfString,
    ),
    (
        "end-of-string and nothing else",
        "0001 6184 ffff ffff",
        DecodeError::EndOfString,
    ),
    (
        "padding with zeros (§5.2)",
        "0001 6181 18",
        DecodeError::PaddingInvalid,
    ),
    (
        "eight bits of padding (§5.2)",
        "0001 6182 1fff",
        DecodeError::PaddingInvalid,
    ),
    ("only padding", "0001 6181 ff", DecodeError::PaddingInvalid),
    (
        "a size update behind a field (§4.2)",
        "8220",
        DecodeError::SizeUpdateMisplaced,
    ),
    (
        "three size updates (§4.2)",
        "202020",
        DecodeError::SizeUpdateMisplaced,
    ),
    (
        "a size above our limit (§6.3)",
        "3fe2 1f",
        DecodeError::SizeUpdateTooLarge,
    ),
];

#[test]
fn what_the_rfc_forbids_is_refused() {
    for (name, hex, error) in REFUSED {
        let seen = decode(&mut Decoder::new(4096), &bytes_of(hex));
        assert_eq!(seen, Err(*error), "{name}");
    }
}

#[test]
fn size_updates_at_the_beginning_empty_the_table() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &bytes_of("4001 6101 62")).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["a: b"]);
    // To nothing, and back to 4096.
    assert_eq!(
        decode(&mut decoder, &bytes_of("20 3fe1 1f")).unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(
        decode(&mut decoder, &[0xbe]),
        Err(DecodeError::IndexInvalid)
    );
    decode(&mut decoder, &bytes_of("4001 6101 62")).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["a: b"]);
}

#[test]
fn a_list_is_cut_at_its_limit_and_the_table_follows_all_of_it() {
    let mut decoder = Decoder::new(4096);
    let mut texts = Texts::default();
    let block = bytes_of("4001 6101 62 4001 6301 64 82");
    // 34 for the first; the second does not fit, and a third that would fit is not taken either.
    let list = decoder.decode(&block, 34 + 33, &mut texts);
    assert_eq!(list, Ok(DecodedList::TooLarge));
    assert_eq!(texts.0, ["a: b"]);
    assert_eq!(
        decode(&mut decoder, &bytes_of("bebf")).unwrap(),
        ["c: d", "a: b"]
    );
}

#[test]
fn names_have_kinds() {
    for (name, kind) in [
        (":path", NameKind::Pseudo(Pseudo::Path)),
        (":status", NameKind::Pseudo(Pseudo::Status)),
        (":protocol", NameKind::Pseudo(Pseudo::Unknown)),
        (":Path", NameKind::Pseudo(Pseudo::Unknown)),
        (":", NameKind::Pseudo(Pseudo::Unknown)),
        ("host", NameKind::Regular(FieldClass::Host)),
        ("x-a", NameKind::Regular(FieldClass::Other)),
        ("Host", NameKind::Invalid),
        ("x-A", NameKind::Invalid),
        ("", NameKind::Invalid),
        ("a:b", NameKind::Invalid),
        ("a b", NameKind::Invalid),
        ("a\r", NameKind::Invalid),
        ("\u{e4}", NameKind::Invalid),
    ] {
        assert_eq!(NameKind::of(name.as_bytes()), kind, "{name}");
    }
}

#[test]
fn every_static_name_is_found_by_the_encoder() {
    for index in 1..=static_table::LENGTH {
        let entry = static_table::entry_at(index).unwrap();
        let NameKind::Regular(class) = entry.kind else {
            assert!(entry.name.starts_with(':'));
            continue;
        };
        let upper = entry.name.to_ascii_uppercase();
        let found = static_table::index_of_name(upper.as_bytes(), class).unwrap();
        let found = static_table::entry_at(found.into()).unwrap();
        assert_eq!(found.name, entry.name);
    }
    for absent in ["x-forwarded-for", "te", "upgrade", "x-a", "connection"] {
        let class = FieldClass::of(absent.as_bytes());
        assert_eq!(static_table::index_of_name(absent.as_bytes(), class), None);
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(4096));
    for round in 0..2 {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        assert_eq!(block.first() == Some(&0x20), round == 0);
        encoder.push_status(&mut block, 200);
        encoder.push_status(&mut block, 418);
        encoder.push_method(&mut block, b"POST");
        encoder.push_method(&mut block, b"PATCH");
        encoder.push_scheme(&mut block, b"https");
        encoder.push_authority(&mut block, b"a:1");
        encoder.push_path(&mut block, b"/");
        encoder.push_path(&mut block, b"/a");
        encoder.push_field(&mut block, b"ETag", b"\"x\"", FieldClass::Other);
        encoder.push_field(&mut block, b"X-Own", b"", FieldClass::Other);
        let long = [b'v'; 300];
        encoder.push_field(&mut block, b"Cookie", &long, FieldClass::Cookie);
        encoder.push_number_field(
            &mut block,
            b"Content-Length",
            u64::MAX,
            FieldClass::ContentLength,
        );
        let cookie = format!("cookie: {}", "v".repeat(300));
        assert_eq!(
            decode(&mut decoder, &block).unwrap(),
            [
                ":status: 200",
                ":status: 418",
                ":method: POST",
                ":method: PATCH",
                ":scheme: https",
                ":authority: a:1",
                ":path: /",
                ":path: /a",
                "etag: \\\"x\\\"",
                "x-own: ",
                &cookie,
                "content-length: 18446744073709551615",
            ]
        );
    }
}

#[test]
fn secrets_are_never_indexed() {
    for (name, class) in [
        ("Authorization", FieldClass::Authorization),
        ("Cookie", FieldClass::Cookie),
        ("Set-Cookie", FieldClass::SetCookie),
        ("Date", FieldClass::Date),
    ] {
        let mut block = Vec::new();
        Encoder::default().push_field(&mut block, name.as_bytes(), b"x", class);
        let is_secret = class != FieldClass::Date;
        assert_eq!(block[0] & 0xf0 == 0x10, is_secret, "{name}");
    }
}

/// The code of each symbol, from the lengths (they are canonical).
fn codes() -> Vec<(u32, u8)> {
    let mut order: Vec<usize> = (0..LENGTHS.len()).collect();
    order.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let mut codes = vec![(0, 0); LENGTHS.len()];
    let (mut code, mut length) = (0_u32, LENGTHS[order[0]]);
    for (position, symbol) in order.into_iter().enumerate() {
        if position > 0 {
            code = (code + 1) << (LENGTHS[symbol] - length);
        }
        length = LENGTHS[symbol];
        codes[symbol] = (code, length);
    }
    codes
}

fn huffman_encode(text: &[u8]) -> Vec<u8> {
    let codes = codes();
    let mut bits: Vec<bool> = Vec::new();
    for byte in text {
        let (code, length) = codes[usize::from(*byte)];
        bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

#[test]
fn every_symbol_is_decoded_at_every_offset() {
    // The last code is thirty ones: the lengths fill the tree.
    assert_eq!(codes()[256], ((1 << 30) - 1, 30));
    for before in 0..8 {
        for symbol in 0..=255_u8 {
            let text = [&b"0".repeat(before)[..], &[symbol], b"a"].concat();
            let mut seen = Vec::new();
            huffman::decode(&huffman_encode(&text), &mut seen).unwrap();
            assert_eq!(seen, text);
        }
    }
    let mut seen = Vec::new();
    assert_eq!(
        huffman::decode(&[0xff; 4], &mut seen),
        Err(HuffmanError::EndOfString)
    );
    assert_eq!(huffman::decode(&[], &mut seen), Ok(()));
}

#[test]
fn integers_are_read_as_they_are_written() {
    for prefix_bits in 4..=7 {
        for value in (0..600).chain([16_383, 65_536, (1 << 28) - 1]) {
            let mut out = Vec::new();
            integer::encode(&mut out, 0, prefix_bits, value);
            out.push(7);
            let mut rest = out.as_slice();
            assert_eq!(integer::decode(&mut rest, prefix_bits), Ok(value));
            assert_eq!(rest, [7]);
        }
    }
    // RFC 7541 §C.1.2
    assert_eq!(integer::decode(&mut &[0x1f, 0x9a, 0x0a][..], 5), Ok(1337));
    assert_eq!(
        integer::decode(&mut &[0x1f][..], 5),
        Err(IntegerError::Truncated)
    );
}

#[test]
fn an_entry_may_take_its_name_from_one_that_gives_way() {
    let mut table = DynamicTable::new(80);
    let kind = NameKind::of(b"name");
    table.insert(NewName::Bytes(b"name"), b"1", kind, true);
    table.insert(NewName::Bytes(b"b"), b"2", kind, true);
    // 37 and 34 bytes; a third entry of 44 leaves room for the second only, then for none.
    table.insert(NewName::OfEntry(1), b"value-22", kind, true);
    let newest = table.get(0).unwrap();
    assert_eq!(
        (newest.name, newest.value),
        (&b"name"[..], &b"value-22"[..])
    );
    assert_eq!(table.get(1).unwrap().name, b"b");
    assert!(table.get(2).is_none());
    // Larger than the table: it empties it.
    table.insert(NewName::Bytes(b"name"), &[b'v'; 45], kind, true);
    assert!(table.get(0).is_none());
}

#[test]
fn the_arena_stays_small_however_much_is_inserted() {
    let mut decoder = Decoder::new(4096);
    for number in 0..10_000_u32 {
        let value = format!("{number:0100}");
        let block = [&b"\x40\x01a\x64"[..], value.as_bytes()].concat();
        decode(&mut decoder, &block).unwrap();
        assert_eq!(
            decode(&mut decoder, &[0xbe]).unwrap(),
            [format!("a: {value}")]
        );
    }
    // 30 entries of 133; the arena holds what is alive and at most as much that is dead.
    assert_eq!(decode(&mut decoder, &[0x80 | (61 + 30)]).unwrap().len(), 1);
    assert!(decode(&mut decoder, &[0x80 | (61 + 31)]).is_err());
}
