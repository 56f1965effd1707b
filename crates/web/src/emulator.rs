//! What only the emulator has, for those who build a client: faults on demand, a recording of what
//! clients ask and are answered, and scenarios. Each process has its own, in memory.

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use iocast_app::App;

mod faults;
mod har;
mod recording;
mod scenarios;

pub(crate) use self::{
    faults::{Fault, Faults, MOST, What},
    har::har,
    recording::{Recorded, Recording, Who},
    scenarios::{Run, Said, Scenarios, advance, start, stop, tick},
};

/// Faults, recording and scenarios of this process.
#[derive(Debug, Default)]
pub(crate) struct Emulator {
    pub(crate) faults: Faults,
    pub(crate) recording: Recording,
    pub(crate) scenarios: Scenarios,
}

/// Has a request meet a fault, and records it. Without `--emulator` it goes on as it came.
pub(crate) async fn around<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let now = request
        .app_data::<web::Data<App>>()
        .filter(|app| app.context.settings.emulator)
        .map(|app| app.context.now());
    let (Some(now), Some(emulator)) = (now, request.app_data::<web::Data<Emulator>>().cloned())
    else {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    };
    let mut begun = recording::begin(&mut request, now, &emulator);
    let fault = emulator.faults.meet(request.method().as_str(), request.path(), now);
    let id = fault.as_ref().map(|(id, _)| *id);
    let answer = faults::apply(fault, request, next).await?;
    let answer = match begun.take() {
        Some(begun) => begun.answered(answer, id),
        None => answer,
    };
    Ok(answer.map_into_right_body())
}
