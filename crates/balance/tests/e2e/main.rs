//! End to end: the real binary, real sockets, port 0, one test binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod breaker;
mod canary;
mod command_line;
mod deadlines;
mod differential;
mod explain;
mod faults;
mod grpc;
mod health;
mod http1;
mod http2;
mod life_cycle;
mod limits;
mod measuring;
mod operating;
mod outage;
mod profiling;
mod programs;
mod proxy;
mod proxy_protocol;
mod queue;
mod real_clients;
mod real_origins;
mod resources;
mod retries;
mod robustness;
mod routing;
mod server_names;
mod subject;
mod tcp;
mod tls;
mod upgrade;
mod upstream_http2;
mod upstream_tls;
