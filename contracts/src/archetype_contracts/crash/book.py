"""The book of the crash contract; the modules beside this one enter their clauses here."""

from __future__ import annotations

from archetype_contracts.clause import Book
from archetype_contracts.crash.subject import CrashSubject

BOOK: Book[CrashSubject] = Book("Store")
clause = BOOK.clause
