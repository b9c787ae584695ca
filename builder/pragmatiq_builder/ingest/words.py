"""Words in the names of tables and columns, and what they say of them."""

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


CUSTOMER = _set(
    "borrower cardholder cif client cust customer holder kunde kundennr member party person subscriber user"
)
CUSTOMER_TOO = _set("acc account acct card konto")
"""Say customer where nothing says it better."""
CUSTOMER_TABLES = _set("client clients customer customers members profile profiles users")
KEY = _set("code guid hash id key no nr num number ref reference uuid")
TIME = _set("at date datetime datum day dt epoch month on time timestamp ts when")
EVENT_TIME = _set("booked created event granted occurred paid posted timestamp trans transaction ts txn")
AS_OF = _set("as asof extract extracted report reporting snapshot state through valid")
DECISION = _set("application as cutoff decision eval evaluation observation observed reference")
LABEL = _set(
    "bad chargeback churn churned converted default defaulted delinquent flag fraud is label outcome response target y"
)
LABEL_TABLES = _set("label labels outcome outcomes target targets")
PERSONAL = _set(
    "address birth birthdate birthday dob email firstname forename fullname iban lastname mail mobile nino pan "
    "passport phone postal postcode ssn street surname tel telephone zip zipcode"
)
OF_PEOPLE = _set(
    "account cardholder client customer family first full given holder last maiden member middle person user"
)
"""Beside "name" they say that it is a person's."""


def words_of(name: str) -> set[str]:
    """The words of a name in lower case.

    Example:
        >>> sorted(words_of("CustomerId_no"))
        ['customer', 'id', 'no']
    """
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return {word for word in re.split(r"[^a-zA-Z0-9]+", split.lower()) if word}
