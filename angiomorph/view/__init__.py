"""Pictures for people: a registration beside plain DSA, a training's learning curve."""
