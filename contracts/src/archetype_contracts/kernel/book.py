"""The book of the kernel contract; the modules beside this one enter their clauses here."""

from __future__ import annotations

from archetype_contracts.clause import Book
from archetype_contracts.kernel.subject import KernelSubject

BOOK: Book[KernelSubject] = Book("Kernel")
clause = BOOK.clause
