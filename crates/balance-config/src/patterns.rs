//! The regular expressions of a configuration, for whoever compiles them: they are known, and their mistakes can be told,
//! even when the configuration as a whole cannot be used.

use crate::diagnostics::Spanned;
use crate::table::Kind;
use crate::value::{Block, Item, Value};

/// Those of all blocks, in the order of the tree.
pub(crate) fn collect(root: &Block) -> Vec<Spanned<String>> {
    let mut found = Vec::new();
    of_block(root, &mut found);
    found
}

fn of_block(block: &Block, found: &mut Vec<Spanned<String>>) {
    for field in &block.fields {
        let kind = block.table.key(field.name).map(|key| &key.kind);
        match (kind, field.item.text()) {
            (Some(Kind::Regex), Some(text)) => {
                found.push(Spanned::new(text.to_owned(), field.item.place.clone()));
            }
            _ => of_item(&field.item, found),
        }
    }
}

fn of_item(item: &Item, found: &mut Vec<Spanned<String>>) {
    match &item.value {
        Value::Block(block) => of_block(block, found),
        Value::List(items) => items.iter().for_each(|item| of_item(item, found)),
        Value::Map(items) => items.iter().for_each(|(_, item)| of_item(item, found)),
        _ => {}
    }
}
