"""The book of the gate contract; the modules beside this one enter their clauses here."""

from __future__ import annotations

from archetype_contracts.clause import Book
from archetype_contracts.gate.subject import GateSubject

BOOK: Book[GateSubject] = Book("CommandGate")
clause = BOOK.clause
