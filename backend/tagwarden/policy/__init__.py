"""May this person do this with this tag group, on this follow? Facts in, decision out."""
