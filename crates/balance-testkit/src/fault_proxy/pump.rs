//! One direction of one connection: reads, passes on, and strikes where its fault says so.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Fault, FaultAction, Link, Place, Shared, State};
use crate::client::reset;
use crate::{PATIENCE, pause};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

pub(super) struct Pump {
    shared: Arc<Shared>,
    /// Of the connection.
    number: usize,
    direction: Direction,
    near: TcpStream,
    far: TcpStream,
    /// What still comes in this direction goes nowhere.
    discards: bool,
}

/// What to do with bytes that have come.
enum Order {
    Pass,
    Discard,
    /// Pass byte by byte, with a pause before each.
    Drip(Duration),
    /// Pass so many, then act.
    Strike(usize, FaultAction),
}

impl Pump {
    pub(super) fn new(
        shared: Arc<Shared>,
        number: usize,
        direction: Direction,
        near: TcpStream,
        far: TcpStream,
    ) -> Self {
        Self {
            shared,
            number,
            direction,
            near,
            far,
            discards: false,
        }
    }

    /// Runs to the end of the direction; `fault` strikes first.
    pub(super) fn run(&mut self, fault: Option<FaultAction>) {
        if let Some(action) = fault {
            self.strike(action);
        }
        let mut block = [0; 16 << 10];
        loop {
            let read = self.from().read(&mut block);
            match read {
                Ok(0) => {
                    self.pass_end_on();
                    break;
                }
                Ok(read) => self.take(&block[..read]),
                Err(_) => {
                    self.pass_reset_on();
                    break;
                }
            }
        }
        let number = self.number;
        self.shared.change(|state| {
            let link = &mut state.links[number];
            link.ended += 1;
            if link.ended == 2 {
                link.streams = None;
            }
        });
    }

    /// The other side may be gone already, here and below.
    fn pass_end_on(&self) {
        if !self.is_cut() {
            let _ = self.to().shutdown(Shutdown::Write);
        } else if self.direction == Direction::Up {
            // Who connected has given up: nobody is left who could be deceived.
            let _ = self.far.shutdown(Shutdown::Both);
        }
    }

    fn pass_reset_on(&self) {
        if !self.is_cut() || self.direction == Direction::Up {
            let _ = reset(self.to());
        }
    }

    fn from(&self) -> &TcpStream {
        match self.direction {
            Direction::Up => &self.near,
            Direction::Down => &self.far,
        }
    }

    fn to(&self) -> &TcpStream {
        match self.direction {
            Direction::Up => &self.far,
            Direction::Down => &self.near,
        }
    }

    fn is_cut(&self) -> bool {
        self.shared.state().links[self.number].is_cut
    }

    fn take(&mut self, bytes: &[u8]) {
        let order = self
            .shared
            .change(|state| state.on_bytes(self.number, self.direction, bytes));
        match order {
            Order::Pass => self.pass(bytes, None),
            Order::Drip(gap) => self.pass(bytes, Some(gap)),
            Order::Discard => {}
            Order::Strike(before, action) => {
                // First of all: whoever gets the last byte may answer before it has struck.
                if action.is_cut() {
                    self.cut();
                }
                self.pass(&bytes[..before], None);
                let gap = match action {
                    FaultAction::Drip(gap) => Some(gap),
                    _ => None,
                };
                self.strike(action);
                if !self.is_cut() {
                    self.pass(&bytes[before..], gap);
                }
            }
        }
    }

    fn pass(&self, bytes: &[u8], gap: Option<Duration>) {
        if self.discards || bytes.is_empty() {
            return;
        }
        let mut to = self.to();
        // Who has closed is not interested; its side's own pump finds out.
        let _ = match gap {
            None => to.write_all(bytes),
            Some(gap) => bytes.chunks(1).try_for_each(|byte| {
                pause(gap);
                to.write_all(byte)
            }),
        };
    }

    fn strike(&mut self, action: FaultAction) {
        // What takes its time has struck when it begins; the rest, when it is done.
        if matches!(action, FaultAction::Stall | FaultAction::Delay(_)) {
            self.count();
            match action {
                FaultAction::Delay(time) => pause(time),
                _ => self.stall(),
            }
            return;
        }
        // Before the sockets: the other direction must not take our close for its peer's.
        if action.is_cut() {
            self.cut();
        }
        // A side that has closed meanwhile needs no other end.
        match action {
            FaultAction::Reset => {
                let _ = reset(&self.near);
                let _ = reset(&self.far);
            }
            FaultAction::Close => {
                let _ = self.near.shutdown(Shutdown::Write);
                let _ = self.far.shutdown(Shutdown::Write);
            }
            FaultAction::HalfClose => {
                let _ = self.to().shutdown(Shutdown::Write);
                self.discards = true;
            }
            FaultAction::Garbage(bytes) => {
                self.pass(&bytes, None);
                self.discards = true;
            }
            FaultAction::Drip(_)
            | FaultAction::Blackhole
            | FaultAction::Stall
            | FaultAction::Delay(_) => {}
        }
        self.count();
    }

    fn cut(&self) {
        self.shared
            .change(|state| state.links[self.number].is_cut = true);
    }

    fn count(&self) {
        self.shared.change(|state| {
            state.carried.faults += 1;
            state.striking -= 1;
        });
    }

    /// Reads nothing until the other direction has ended or the proxy stops.
    fn stall(&self) {
        let mut state = self.shared.state();
        while !state.is_stopping && state.links[self.number].ended == 0 {
            state = self.shared.wait(state, PATIENCE);
        }
    }
}

impl State {
    fn on_bytes(&mut self, number: usize, direction: Direction, bytes: &[u8]) -> Order {
        let carried = &mut self.carried;
        // The rest of an exchange that was cut may come when the next one has begun, and is no part of it.
        let begins = direction == Direction::Up && !self.links[number].is_cut;
        if begins && !carried.senders.contains(&number) {
            carried.senders.push(number);
            let link = &mut self.links[number];
            link.fault = self.armed.pop_front();
            (link.passed_up, link.passed_down) = (0, 0);
            link.drips = None;
        }
        match direction {
            Direction::Up => {
                carried.up.extend_from_slice(bytes);
                self.links[number].sent.extend_from_slice(bytes);
            }
            Direction::Down => carried.down.extend_from_slice(bytes),
        }
        let order = self.links[number].on_bytes(direction, bytes.len());
        if matches!(order, Order::Strike(..)) {
            self.striking += 1;
        }
        order
    }
}

impl Link {
    fn on_bytes(&mut self, direction: Direction, len: usize) -> Order {
        if self.is_cut {
            return Order::Discard;
        }
        let passed = match direction {
            Direction::Up => &mut self.passed_up,
            Direction::Down => &mut self.passed_down,
        };
        let before = *passed;
        *passed += len as u64;
        let place = match (self.fault.as_ref().map(|fault| fault.place), direction) {
            (Some(Place::Up(at)), Direction::Up) | (Some(Place::Down(at)), Direction::Down) => at,
            _ => {
                let gap = self.drips.filter(|(drips, _)| *drips == direction);
                return gap.map_or(Order::Pass, |(_, gap)| Order::Drip(gap));
            }
        };
        if *passed < place {
            return Order::Pass;
        }
        let Some(Fault { action, .. }) = self.fault.take() else {
            return Order::Pass;
        };
        if let FaultAction::Drip(gap) = action {
            self.drips = Some((direction, gap));
        }
        // As the fault is taken when it strikes, what was passed before is less than its place.
        let left = place.saturating_sub(before);
        Order::Strike(usize::try_from(left).unwrap_or(len).min(len), action)
    }
}
