//! Huffman-coded strings (RFC 7541 §5.2 and Appendix B), decoded four bits at a time.
//!
//! The code is canonical: symbols of one length have consecutive codes in their order. So the table of
//! lengths is the whole code, and the machine below is computed from it by the compiler.

/// Why a coded string is refused (RFC 7541 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HuffmanError {
    /// It contains the symbol for the end of the string.
    EndOfString,
    /// Its last bits are not the beginning of that symbol, or more than seven.
    Padding,
}

/// Appends the decoded string. The longest one is 8/5 of the coded bytes.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), HuffmanError> {
    let mut state = Step::START;
    for byte in coded {
        for nibble in [byte >> 4, byte & 0xf] {
            state = step(state.next, nibble);
            if state.has_symbol {
                out.push(state.symbol);
            }
            if state.is_end_of_string {
                return Err(HuffmanError::EndOfString);
            }
        }
    }
    match state.may_end {
        true => Ok(()),
        false => Err(HuffmanError::Padding),
    }
}

/// What four bits lead to. No code is shorter than five bits, so they complete one symbol at most.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The inner node of the code's tree that was reached.
    next: u8,
    symbol: u8,
    has_symbol: bool,
    is_end_of_string: bool,
    /// Whether a string may end here: after a whole symbol and at most seven ones.
    may_end: bool,
}

impl Step {
    const START: Self = Self {
        next: ROOT,
        symbol: 0,
        has_symbol: false,
        is_end_of_string: false,
        may_end: true,
    };
}

#[expect(
    clippy::indexing_slicing,
    reason = "a byte cannot leave 256 rows, nor four bits 16 columns"
)]
fn step(node: u8, nibble: u8) -> Step {
    STEPS[usize::from(node)][usize::from(nibble & 0xf)]
}

static STEPS: [[Step; 16]; NODES] = steps();

/// 257 leaves make 256 inner nodes.
const NODES: usize = 256;
const ROOT: u8 = 0;
const END_OF_STRING: usize = 256;

/// What a bit leads to from an inner node.
#[derive(Clone, Copy)]
enum Branch {
    Nowhere,
    Node(u8),
    Leaf(usize),
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn steps() -> [[Step; 16]; NODES] {
    let tree = tree();
    let padding = padding_nodes(&tree);
    let mut steps = [[Step::START; 16]; NODES];
    let mut node = 0;
    while node < NODES {
        let mut nibble = 0;
        while nibble < 16 {
            let mut step = Step {
                next: node as u8,
                may_end: false,
                ..Step::START
            };
            let mut bit = 4;
            while bit > 0 && !step.is_end_of_string {
                bit -= 1;
                match tree[step.next as usize][nibble >> bit & 1] {
                    Branch::Node(next) => step.next = next,
                    Branch::Leaf(END_OF_STRING) => step.is_end_of_string = true,
                    Branch::Leaf(symbol) => {
                        step.next = ROOT;
                        step.symbol = symbol as u8;
                        step.has_symbol = true;
                    }
                    Branch::Nowhere => {}
                }
            }
            step.may_end = padding[step.next as usize];
            steps[node][nibble] = step;
            nibble += 1;
        }
        node += 1;
    }
    steps
}

/// The nodes at which a string may end: the root, and those that up to seven ones lead to from there.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn padding_nodes(tree: &[[Branch; 2]; NODES]) -> [bool; NODES] {
    let mut is_padding = [false; NODES];
    let mut node = ROOT;
    is_padding[ROOT as usize] = true;
    let mut ones = 0;
    while ones < 7 {
        if let Branch::Node(next) = tree[node as usize][1] {
            node = next;
            is_padding[node as usize] = true;
        }
        ones += 1;
    }
    is_padding
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn tree() -> [[Branch; 2]; NODES] {
    let mut tree = [[Branch::Nowhere; 2]; NODES];
    let mut nodes = 1;
    let mut code: u32 = 0;
    let mut length = 1;
    while length <= 30 {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] == length {
                nodes = add_code(&mut tree, nodes, code, length, symbol);
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    tree
}

/// Adds the path to one symbol; the number of nodes there are then.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn add_code(
    tree: &mut [[Branch; 2]; NODES],
    mut nodes: usize,
    code: u32,
    length: u8,
    symbol: usize,
) -> usize {
    let mut node = ROOT as usize;
    let mut bit = length - 1;
    while bit > 0 {
        let branch = (code >> bit & 1) as usize;
        node = match tree[node][branch] {
            Branch::Node(next) => next as usize,
            _ => {
                tree[node][branch] = Branch::Node(nodes as u8);
                nodes += 1;
                nodes - 1
            }
        };
        bit -= 1;
    }
    tree[node][(code & 1) as usize] = Branch::Leaf(symbol);
    nodes
}

/// The length in bits of each symbol's code (RFC 7541 Appendix B); the last is the end of a string.
pub(super) const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
