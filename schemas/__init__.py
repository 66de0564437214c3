"""What goes over the wire: commands, outcomes, dead letters, money, and the documents generated from them.

Imports nothing of the worker, so that an upstream team can take this folder alone.

- text, money, times   the strict strings that everything else is made of
- envelope, references what all commands share
- adjustments, freezes, orders   the payloads, one model per command type
- commands             the ten command types and the topics' families
- findings             what is wrong with a command, in those codes
- codes                every `error.code`, its meaning and what to do about it
- outcomes, dead_letters   what the worker publishes, byte for byte
- printed              what the command line prints as JSON, one schema per command
- meanings, examples   what every field means, and an example of every document
- export, asyncapi     JSON Schemas and the AsyncAPI document in `schemas/json/`
- compatible, released what may follow a released version, and what was released
"""
