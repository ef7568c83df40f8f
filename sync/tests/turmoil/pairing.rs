//! Pairing against the clock.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::EndpointConfig;
use satchel_sync::member::DeviceKeys;
use satchel_sync::net::pair::{PAIRING_LIFETIME, PairNew, device_info};

use crate::world::World;

/// The user went away, or mistyped it elsewhere: the code does not stay usable for whoever finds it on the screen.
#[test]
fn a_code_that_nobody_types_is_given_up_after_ten_minutes() {
    let mut world = World::new(1);
    let ended = Arc::new(Mutex::new(None));
    let (told, line, link) = (
        Arc::clone(&ended),
        Arc::clone(&world.line),
        world.link.clone(),
    );
    world.sim.client("new", async move {
        let sockets = move |_| line.endpoint(0, EndpointConfig::default(), None);
        let shown = PairNew::begin_with(&sockets, &link).await?;
        let begun = tokio::time::Instant::now();
        let device = device_info(&DeviceKeys::random(), "Ada", "Bag")?;
        let met = shown.meet(&device, pending()).await;
        let words = met.err().map(|error| error.to_string());
        *told.lock().unwrap() = Some((begun.elapsed(), words));
        Ok(())
    });
    let patience = PAIRING_LIFETIME + Duration::from_secs(10);
    world.until(patience, "the code to be given up", |_| {
        ended.lock().unwrap().is_some()
    });
    let (waited, words) = ended.lock().unwrap().take().unwrap();
    assert!(
        waited + Duration::from_secs(5) > PAIRING_LIFETIME,
        "{waited:?}"
    );
    let expected =
        "the other laptop did not answer within ten minutes: begin again with a new code";
    assert_eq!(words.as_deref(), Some(expected));
}
