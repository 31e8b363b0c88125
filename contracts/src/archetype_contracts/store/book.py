"""The book of the store contract; the modules beside this one enter their clauses here."""

from __future__ import annotations

from archetype_contracts.clause import Book
from archetype_contracts.store.subject import StoreSubject

BOOK: Book[StoreSubject] = Book("Store")
clause = BOOK.clause
