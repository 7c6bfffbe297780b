//! The parsers against a second reading of the RFCs ([`reference`]): what they accept is a message of the grammar
//! with the same parts, and what they refuse of it is refused by a rule that is written down here.
//!
//! Messages are put together from pieces of which each may be a wrong one, and damaged byte by byte.

mod chunked;
mod pieces;
mod reference;
mod requests;
mod responses;
mod verdict;
