//! A response's field block (RFC 9113 §8.3.2).

use super::check_regular;
use crate::field::FieldClass;
use crate::framing::FramingError;
use crate::http1::facts::HeadFacts;
use crate::http1::{HeadSettings, ResponseError, ResponseHead};
use crate::http2::error::Malformed;
use crate::http2::hpack::{DecodedField, DecodedList, FieldSink, NameKind, Pseudo};
use balance_core::{Limits, Method};

/// Puts a head together, field by field.
pub(in crate::http2) struct ResponseAssembly<'a> {
    head: &'a mut ResponseHead,
    settings: &'a HeadSettings,
    facts: HeadFacts,
    status: Option<u16>,
    has_regular: bool,
    /// The first thing that was wrong.
    fault: Option<Malformed>,
}

impl<'a> ResponseAssembly<'a> {
    pub(in crate::http2) fn new(head: &'a mut ResponseHead, settings: &'a HeadSettings) -> Self {
        head.clear();
        Self {
            head,
            settings,
            facts: HeadFacts::default(),
            status: None,
            has_regular: false,
            fault: None,
        }
    }

    /// Judges the head; `ends` says that the stream ends with it.
    pub(in crate::http2) fn finish(
        mut self,
        list: DecodedList,
        ends: bool,
        request_method: Method,
    ) -> Result<(), Malformed> {
        let result = self.accept(list, ends, request_method);
        if result.is_err() {
            self.head.clear();
        }
        result
    }

    fn accept(
        &mut self,
        list: DecodedList,
        ends: bool,
        request_method: Method,
    ) -> Result<(), Malformed> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if list == DecodedList::TooLarge {
            return Err(Malformed::TooLarge);
        }
        let status = self.status.ok_or(Malformed::PseudoMissing)?;
        if matches!(status, 100..=199) && ends {
            return Err(Malformed::InterimEnds);
        }
        self.head
            .accept_stream(status, &self.facts, ends, request_method)
            .map_err(|error| match error {
                ResponseError::Framing(FramingError::StreamEnded) => Malformed::LengthMismatch,
                _ => Malformed::LengthInvalid,
            })
    }

    fn push_pseudo(&mut self, pseudo: Pseudo, field: &DecodedField<'_>) -> Result<(), Malformed> {
        if self.has_regular {
            return Err(Malformed::PseudoMisplaced);
        }
        if pseudo != Pseudo::Status {
            return Err(Malformed::PseudoUnknown);
        }
        let status = parse_status(field.value).ok_or(Malformed::PseudoInvalid)?;
        // RFC 9113 §8.6
        if status == 101 {
            return Err(Malformed::SwitchingProtocols);
        }
        if self.status.replace(status).is_some() {
            return Err(Malformed::PseudoDuplicate);
        }
        let lines = self.head.lines_mut();
        lines.push_extra(&[b"HTTP/2.0 ", field.value, b"\r\n"]);
        Ok(())
    }

    fn push_regular(
        &mut self,
        class: FieldClass,
        field: &DecodedField<'_>,
    ) -> Result<(), Malformed> {
        if self.status.is_none() {
            return Err(Malformed::PseudoMissing);
        }
        self.has_regular = true;
        check_regular(field, class)?;
        let lines = self.head.lines_mut();
        if lines.field_count() >= self.settings.fields_max.min(Limits::FIELDS_CEILING) {
            return Err(Malformed::TooLarge);
        }
        if class == FieldClass::ContentLength {
            self.facts
                .on_field(class, lines.field_count(), field.value)
                .map_err(|_| Malformed::LengthInvalid)?;
        }
        lines.append(field.name, field.value, class);
        Ok(())
    }
}

impl FieldSink for ResponseAssembly<'_> {
    fn on_field(&mut self, field: DecodedField<'_>) {
        if self.fault.is_some() {
            return;
        }
        let result = match field.kind {
            NameKind::Pseudo(pseudo) => self.push_pseudo(pseudo, &field),
            NameKind::Regular(class) => self.push_regular(class, &field),
            NameKind::Invalid => Err(Malformed::NameInvalid),
        };
        self.fault = result.err();
    }
}

/// Exactly three digits, from 100 on.
fn parse_status(value: &[u8]) -> Option<u16> {
    let [
        hundreds @ b'1'..=b'9',
        tens @ b'0'..=b'9',
        ones @ b'0'..=b'9',
    ] = value
    else {
        return None;
    };
    let digits = [*hundreds, *tens, *ones];
    std::str::from_utf8(&digits).ok()?.parse().ok()
}
