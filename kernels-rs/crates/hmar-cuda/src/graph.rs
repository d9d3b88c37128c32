//! Recorded passes, and marks in the queue.

use std::sync::Arc;

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaGraph, CudaStream, result};
use hmar_error::{Code, Error, Result};

use crate::backend::CudaBackend;
use crate::context::Context;

/// The operations of a pass as a graph that is queued by one call.
#[derive(Default)]
pub struct CudaRecording {
    seen: bool,
    graph: Option<Graph>,
}

struct Graph {
    graph: CudaGraph,
    context: Arc<Context>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // It may be on its way still. A dead device has nothing on its way.
        let _ = self.context.synchronize();
    }
}

// SAFETY: a graph may be used from any thread, though not from two at once; `replay` takes it mutably.
unsafe impl Send for Graph {}

impl CudaRecording {
    /// Whether it holds a recording.
    pub fn is_recorded(&self) -> bool {
        self.graph.is_some()
    }
}

/// A point in the queue.
pub struct CudaMark(CudaEvent);

/// A point in the queue that knows when the device came by.
pub struct CudaInstant(CudaEvent);

impl CudaBackend {
    /// The first call queues the operations one by one: products are tuned then, which a recording does not allow.
    /// The second records them; all from then on repeat the recording.
    pub(crate) fn replay_recording(
        &self,
        recording: &mut CudaRecording,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let context = &*self.context;
        if self.profile.is_taken() {
            return work();
        }
        if !recording.seen {
            work()?;
            recording.seen = true;
            return Ok(());
        }
        if recording.graph.is_none() {
            recording.graph = Some(Graph { graph: record(context, work)?, context: self.context.clone() });
        }
        let Some(Graph { graph, .. }) = &recording.graph else { unreachable!("recorded above") };
        context.enter()?;
        // SAFETY: the buffers in the graph outlive it: the engine keeps both in one session.
        let launched = unsafe { result::graph::launch(graph.cu_graph_exec(), context.queue().cu_stream()) };
        context.check("repeat a recorded pass", launched)
    }

    /// Marks the end of what is queued.
    pub(crate) fn new_mark(&self) -> Result<CudaMark> {
        self.context.enter()?;
        let event = self.context.cuda.new_event(None);
        let event = self.context.check("make an event", event)?;
        self.context.check("mark its queue", event.record(self.context.queue()))?;
        Ok(CudaMark(event))
    }

    pub(crate) fn mark_is_done(&self, CudaMark(event): &CudaMark) -> Result<bool> {
        self.context.enter()?;
        self.context.check("do its work", event.try_is_complete())
    }

    pub(crate) fn wait_for_mark(&self, CudaMark(event): CudaMark) -> Result<()> {
        self.context.enter()?;
        self.context.check("do its work", event.synchronize())
    }

    /// Marks the end of what is queued, to measure from or to.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` when the device died.
    pub fn instant(&self) -> Result<CudaInstant> {
        use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
        self.context.enter()?;
        let event = self.context.cuda.new_event(Some(CU_EVENT_DEFAULT));
        let event = self.context.check("make an event", event)?;
        self.context.check("mark its queue", event.record(self.context.queue()))?;
        Ok(CudaInstant(event))
    }

    /// Milliseconds from one point in the queue to a later one, once the device has come by.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` when the device died.
    pub fn milliseconds_between(&self, begin: &CudaInstant, end: &CudaInstant) -> Result<f64> {
        self.context.enter()?;
        Ok(f64::from(self.context.check("do its work", begin.0.elapsed_ms(&end.0))?))
    }

    /// Milliseconds of device time that `work` takes in the queue, measured by events around it.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn milliseconds(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let begin = self.instant()?;
        work()?;
        self.milliseconds_between(&begin, &self.instant()?)
    }
}

/// Records what `work` queues on this thread. It goes to a stream of its own, so that other threads go on using the
/// queue meanwhile.
fn record(context: &Context, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
    context.enter()?;
    let stream: Arc<CudaStream> = context.check("make a stream", context.cuda.new_stream())?;
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    context.check("start recording", stream.begin_capture(mode))?;
    let outcome = context.redirect(stream.cu_stream(), work);
    // Ends the recording even where the work failed: the stream could not be given back otherwise.
    let graph = stream.end_capture(CUgraphInstantiate_flags(0));
    outcome?;
    context
        .check("record a pass", graph)?
        .ok_or_else(|| Error::new(Code::Internal, "A pass without operations cannot be recorded."))
}
