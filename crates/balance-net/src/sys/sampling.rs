//! A signal for every so much CPU time of a thread, and the call stack that it interrupted.
//!
//! The handler runs between any two instructions of any thread, also inside the allocator and while locks are
//! held. So it makes no system call, takes no lock and allocates nothing; it reads registers and the stack of its
//! own thread, and hands over numbers. What they are called is found out later, by somebody else.
#![expect(
    unsafe_code,
    reason = "sigaction, the timers of a thread and its stack have no safe wrapper"
)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// As many frames as are kept of a stack, from the innermost on. The data path is about 30 deep.
const FRAMES_MAX: usize = 96;

/// Handles `SIGPROF` from now on and for ever: a signal that is under way when the last timer goes would end the
/// process by default.
pub(crate) fn install_handler(main_stack_top: usize) -> io::Result<()> {
    MAIN_STACK_TOP.store(main_stack_top, Ordering::Relaxed);
    // SAFETY: a sigaction of zeros is a valid one: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction =
        handle as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    // System calls that can go on do so, as if nothing had been.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the action is a live value and its handler has the signature that SA_SIGINFO asks for; the old
    // action is not wanted.
    check(unsafe { libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()) })
}

/// A timer of a thread's CPU time. Dropping it stops it.
pub(crate) struct ThreadTimer(libc::timer_t);

// SAFETY: a timer's id is a number of the process (timer_create(2)), the type is a pointer only by tradition.
unsafe impl Send for ThreadTimer {}

impl ThreadTimer {
    /// Interrupts the thread `tid` of this process each time it has used `interval` of CPU time.
    pub(crate) fn start(tid: u32, interval: Duration) -> io::Result<Self> {
        // The kernel's name for the CPU clock of a thread, as pthread_getcpuclockid makes it from a pthread_t:
        // the complement of the id, then 4 for "of a thread" and 2 for "as scheduled".
        let clock = (!tid.cast_signed() << 3) | 0b110;
        // SAFETY: a sigevent of zeros is a valid one.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGPROF;
        event.sigev_notify_thread_id = tid.cast_signed();
        event.sigev_value.sival_ptr = std::ptr::without_provenance_mut(tid as usize);
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both pointers are to live values of this frame, and the call keeps neither.
        check(unsafe { libc::timer_create(clock, &raw mut event, &raw mut timer) })?;
        let timer = Self(timer);
        let step = libc::timespec {
            tv_sec: interval.as_secs().cast_signed(),
            tv_nsec: interval.subsec_nanos().into(),
        };
        let times = libc::itimerspec {
            it_interval: step,
            it_value: step,
        };
        // SAFETY: the timer exists until it is dropped; the old times are not wanted.
        check(unsafe { libc::timer_settime(timer.0, 0, &raw const times, std::ptr::null_mut()) })?;
        Ok(timer)
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        // SAFETY: the timer was created by `start` and is deleted once.
        let deleted = unsafe { libc::timer_delete(self.0) };
        debug_assert_eq!(deleted, 0, "the timer was there");
    }
}

/// `SIGPROF`, on the thread that used the CPU time.
extern "C" fn handle(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo that lives as long as the handler runs.
    let info = unsafe { &*info };
    if info.si_code != libc::SI_TIMER {
        return;
    }
    // SAFETY: a signal of a timer carries the value that the timer was made with.
    let value = unsafe { info.si_value() };
    // SAFETY: with SA_SIGINFO the third argument is the ucontext of what was interrupted.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let mut stack = [0; FRAMES_MAX];
    let depth = walk(&Registers::of(context), &mut stack);
    crate::sampler::on_sample(value.sival_ptr.addr() as u32, &stack[..depth]);
}

/// What a thread was at.
struct Registers {
    instruction: usize,
    stack: usize,
    frame: usize,
}

impl Registers {
    #[cfg(target_arch = "x86_64")]
    fn of(context: &libc::ucontext_t) -> Self {
        let register = |index: c_int| context.uc_mcontext.gregs[index as usize] as usize;
        Self {
            instruction: register(libc::REG_RIP),
            stack: register(libc::REG_RSP),
            frame: register(libc::REG_RBP),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn of(context: &libc::ucontext_t) -> Self {
        let machine = &context.uc_mcontext;
        Self {
            instruction: machine.pc as usize,
            stack: machine.sp as usize,
            frame: machine.regs[29] as usize,
        }
    }
}

/// Follows the frame pointers (`-C force-frame-pointers`, .cargo/config.toml) and returns how many frames there
/// are. Code without them, as the C library's, uses that register for other things: a chain is followed only
/// upwards and only within the thread's own stack, so what is read may be wrong and is always there. The reader
/// drops what is not code.
fn walk(registers: &Registers, stack: &mut [u64; FRAMES_MAX]) -> usize {
    let top = stack_top(registers.stack);
    stack[0] = registers.instruction as u64;
    let mut depth = 1;
    let mut frame = registers.frame;
    let mut below = registers.stack;
    while depth < FRAMES_MAX
        && frame >= below
        && frame.is_multiple_of(align_of::<[usize; 2]>())
        && frame
            .checked_add(size_of::<[usize; 2]>())
            .is_some_and(|end| end <= top)
    {
        let pair = std::ptr::with_exposed_provenance::<[usize; 2]>(frame);
        // SAFETY: aligned, and between the stack pointer and the top of this thread's stack, all of which is
        // mapped and written by nobody else while this thread is in its signal handler.
        let [next, return_address] = unsafe { pair.read_volatile() };
        if return_address < LOWEST_CODE {
            break;
        }
        stack[depth] = return_address as u64;
        depth += 1;
        // Strictly upwards, so that it ends.
        below = frame + 1;
        frame = next;
    }
    depth
}

/// The end of the stack that `pointer` is in; `pointer` itself where that is not known, so that nothing is read.
///
/// The C libraries put a thread's descriptor, which is what `pthread_self` returns, at the top of the block that
/// they map for its stack. The first thread's descriptor is elsewhere, below its stack, and the top of that stack
/// stays where it was when the process began.
fn stack_top(pointer: usize) -> usize {
    // SAFETY: it has no arguments, and reads a register.
    let own = unsafe { libc::pthread_self() } as usize;
    let top = if own > pointer {
        own
    } else {
        MAIN_STACK_TOP.load(Ordering::Relaxed)
    };
    if top.saturating_sub(pointer) <= STACK_BYTES_MAX {
        top
    } else {
        pointer
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Where the stack of the first thread ends; 0 = not known.
static MAIN_STACK_TOP: AtomicUsize = AtomicUsize::new(0);
/// Nothing is mapped below (`vm.mmap_min_addr`).
const LOWEST_CODE: usize = 4096;
/// Threads of Rust have 2 MiB, the first one usually 8. A distance beyond this is a stack of somebody else's.
const STACK_BYTES_MAX: usize = 64 << 20;
