"""Rules in CEL and texts in Liquid, the languages of definitions, behind the core's ports."""
