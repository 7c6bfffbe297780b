//! Trailers (RFC 9113 §8.1): fields behind the content, never merged into the head (robustness SM-13).

use super::check_regular;
use crate::field::FieldClass;
use crate::head::{Field, HeadView};
use crate::http1::HeadSettings;
use crate::http1::lines::{HeadLines, has_underscore};
use crate::http2::error::Malformed;
use crate::http2::hpack::{DecodedField, DecodedList, FieldSink, NameKind};
use balance_core::Limits;

/// The trailers of one message. As a head, its memory serves the next one.
#[derive(Clone, Debug, Default)]
pub struct Trailers {
    lines: HeadLines,
}

impl Trailers {
    /// Forgets the fields, keeps the memory.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// Gives memory above `bytes_max` back, after a [`clear`](Self::clear).
    pub fn shrink(&mut self, bytes_max: usize) {
        self.lines.shrink(bytes_max);
    }
}

impl HeadView for Trailers {
    fn field_count(&self) -> usize {
        self.lines.field_count()
    }

    fn field(&self, index: usize) -> Field<'_> {
        self.lines.field(index)
    }

    fn find(&self, class: FieldClass) -> Option<usize> {
        self.lines.find(class)
    }

    fn classes(&self) -> u64 {
        self.lines.classes()
    }

    fn run(&self, first: usize, last_exclusive: usize) -> Option<&[u8]> {
        self.lines.run(first, last_exclusive)
    }

    fn encoder_owned(&self) -> u128 {
        self.lines.encoder_owned()
    }
}

/// Puts trailers together, field by field.
pub(in crate::http2) struct TrailersAssembly<'a> {
    trailers: &'a mut Trailers,
    settings: &'a HeadSettings,
    fault: Option<Malformed>,
}

impl<'a> TrailersAssembly<'a> {
    pub(in crate::http2) fn new(trailers: &'a mut Trailers, settings: &'a HeadSettings) -> Self {
        trailers.clear();
        Self {
            trailers,
            settings,
            fault: None,
        }
    }

    pub(in crate::http2) fn finish(self, list: DecodedList) -> Result<(), Malformed> {
        let fault = match list {
            DecodedList::Whole => self.fault,
            DecodedList::TooLarge => self.fault.or(Some(Malformed::TooLarge)),
        };
        match fault {
            None => Ok(()),
            Some(fault) => {
                self.trailers.clear();
                Err(fault)
            }
        }
    }

    fn push(&mut self, field: &DecodedField<'_>) -> Result<(), Malformed> {
        let class = match field.kind {
            NameKind::Regular(class) => class,
            NameKind::Pseudo(_) => return Err(Malformed::PseudoMisplaced),
            NameKind::Invalid => return Err(Malformed::NameInvalid),
        };
        check_regular(field, class)?;
        // RFC 9110 §6.5.1: what frames or routes a message has no meaning behind it. It is left out, as are names that a
        // backend could take for others.
        if class.is_encoder_owned() || has_underscore(field.name) {
            return Ok(());
        }
        let lines = &mut self.trailers.lines;
        if lines.field_count() >= self.settings.fields_max.min(Limits::FIELDS_CEILING) {
            return Err(Malformed::TooLarge);
        }
        lines.append(field.name, field.value, class);
        Ok(())
    }
}

impl FieldSink for TrailersAssembly<'_> {
    fn on_field(&mut self, field: DecodedField<'_>) {
        if self.fault.is_none() {
            self.fault = self.push(&field).err();
        }
    }
}
