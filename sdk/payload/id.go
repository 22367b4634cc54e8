package payload

import (
	"fmt"

	"github.com/google/uuid"
)

// An ID names one payload for ever: a UUIDv7, written as canonical lower-case
// text. Ids made later on one machine sort later, which keeps pages of a
// listing stable. The zero ID names nothing.
type ID uuid.UUID

// NewID makes an id from the current time and randomness, as RFC 9562 section
// 5.7 lays out. Its error is the operating system's, when it has no randomness
// to give.
func NewID() (ID, error) {
	u, err := uuid.NewV7()
	return ID(u), err
}

// ParseID reads canonical text: 36 lower-case characters of a version 7 UUID.
// Everything else is [Invalid], braces, upper case and URNs included, so that
// one payload has one spelling.
func ParseID(text string) (ID, error) {
	u, err := uuid.Parse(text)
	if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 || u.String() != text {
		return ID{}, Errorf(Invalid, "a payload id is a lower-case UUIDv7 such as 0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10")
	}
	return ID(u), nil
}

// IsZero reports whether the id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the canonical text.
func (id ID) String() string { return uuid.UUID(id).String() }

// MarshalText writes canonical text, and nothing for the zero id.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return fmt.Errorf("payload id: %w", err)
	}
	*id = parsed
	return nil
}
