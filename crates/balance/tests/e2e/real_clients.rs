//! Clients that people really use, in front of Balance.

mod curl;
mod load;
mod websocket;
