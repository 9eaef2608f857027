"""The demo's outside world: drops real flight data where upstream systems would."""
