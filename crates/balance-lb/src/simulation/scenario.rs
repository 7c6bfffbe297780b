//! What happens to the origins of a seed, and what operators do meanwhile.

use crate::rng::Rng;

/// How an origin serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Well,
    /// So many times slower.
    Slow(u64),
    /// So many of ten answers are 503.
    Fails(u64),
    /// It accepts, and answers nothing.
    Hangs,
    /// It refuses connections; those that it had are reset.
    Down,
}

/// Something that happens at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Origin(usize, Mode),
    Drain(usize),
    Enable(usize),
    /// From now on it weighs so much.
    Weigh(usize, u32),
    /// Another configuration: one backend left out, or none.
    Reload {
        without: Option<usize>,
    },
}

/// From here on all is well, so that what must come back has time to.
pub(super) const CALM_MS: u64 = 32_000;

/// All happenings of a seed with their times, in no order.
pub(super) fn draw(rng: &mut Rng, origins: usize) -> Vec<(u64, Happening)> {
    let mut script = Vec::new();
    for origin in 0..origins {
        for _ in 0..rng.below(4) {
            trouble(rng, origin, &mut script);
        }
    }
    if rng.below(3) == 0 {
        let (from, length) = (time(rng), 500 + rng.below(5_000) as u64);
        for origin in 0..origins {
            script.push((from, Happening::Origin(origin, Mode::Down)));
            let back = (from + length).min(CALM_MS);
            script.push((back, Happening::Origin(origin, Mode::Well)));
        }
    }
    for _ in 0..rng.below(3) {
        let (origin, at) = (rng.below(origins), time(rng));
        script.push((at, Happening::Drain(origin)));
        let back = (at + rng.below(8_000) as u64).min(CALM_MS);
        script.push((back, Happening::Enable(origin)));
    }
    for _ in 0..rng.below(3) {
        let (origin, at) = (rng.below(origins), time(rng));
        script.push((at, Happening::Weigh(origin, rng.below(4) as u32)));
    }
    for _ in 0..rng.below(4) {
        let without = Some(rng.below(origins)).filter(|_| rng.below(2) == 0);
        script.push((time(rng), Happening::Reload { without }));
    }
    script.push((CALM_MS, Happening::Reload { without: None }));
    for origin in 0..origins {
        script.push((CALM_MS, Happening::Origin(origin, Mode::Well)));
        script.push((CALM_MS, Happening::Enable(origin)));
        script.push((CALM_MS, Happening::Weigh(origin, 1)));
    }
    script
}

/// One spell of bad time: of one kind, or a flapping between up and down.
fn trouble(rng: &mut Rng, origin: usize, script: &mut Vec<(u64, Happening)>) {
    let (mut at, length) = (time(rng), 200 + rng.below(8_000) as u64);
    let end = (at + length).min(CALM_MS);
    let mode = match rng.below(7) {
        0 | 6 => Mode::Slow(4 + rng.below(20) as u64),
        1 | 2 => Mode::Fails(1 + rng.below(10) as u64),
        3 => Mode::Hangs,
        4 => Mode::Down,
        _ => {
            while at < end {
                script.push((at, Happening::Origin(origin, Mode::Down)));
                at += 20 + rng.below(300) as u64;
                script.push((at.min(CALM_MS), Happening::Origin(origin, Mode::Well)));
                at += 20 + rng.below(600) as u64;
            }
            return;
        }
    };
    script.push((at, Happening::Origin(origin, mode)));
    script.push((end, Happening::Origin(origin, Mode::Well)));
}

fn time(rng: &mut Rng) -> u64 {
    rng.below(CALM_MS as usize) as u64
}
