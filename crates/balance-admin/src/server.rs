//! The listeners of the admin API, as the configuration has them at the moment.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use balance_control::{AdminListener, AdminServer, ControlHandle};
use tokio::task::JoinSet;

use crate::listener;

/// Serves the admin API inside control's runtime. Dropping it closes everything.
#[derive(Default)]
pub struct Server {
    /// By the address of the configuration.
    serving: HashMap<String, Serving>,
}

/// One address. Dropping it ends its connections.
struct Serving {
    rules: listener::Rules,
    _task: JoinSet<()>,
}

impl Server {
    pub fn new() -> Self {
        Self::default()
    }
}

impl AdminServer for Server {
    fn serve(&mut self, listeners: Vec<AdminListener>, control: &ControlHandle) {
        let mut before = std::mem::take(&mut self.serving);
        for AdminListener {
            address,
            rules,
            socket,
        } in listeners
        {
            let known = before.remove(&address);
            let serving = match (known, socket) {
                (Some(known), None) => {
                    // Open connections look the rules up for each request: a new token holds at once.
                    known.rules.store(Arc::new(rules));
                    known
                }
                (_, Some(socket)) => {
                    let rules = Arc::new(ArcSwap::from_pointee(rules));
                    let mut task = JoinSet::new();
                    task.spawn(listener::serve(socket, Arc::clone(&rules), control.clone()));
                    Serving { rules, _task: task }
                }
                (None, None) => {
                    tracing::error!(address, "an admin listener has no socket: it is not served");
                    continue;
                }
            };
            self.serving.insert(address, serving);
        }
    }
}
