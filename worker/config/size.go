package config

import (
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Size is a number of bytes, written for people: 512MiB, 4GB, 1048576.
type Size int64

// UnmarshalText reads a size. Its error has code Invalid.
func (s *Size) UnmarshalText(text []byte) error {
	bytes, err := humanize.ParseBytes(string(text))
	if err != nil || bytes > 1<<62 {
		return payload.Errorf(payload.Invalid, "%q is not a size: write 512MiB or 4GB", text)
	}
	*s = Size(bytes)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the largest binary unit that divides the size.
func (s Size) String() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, unit := int64(s), 0
	for n != 0 && n%1024 == 0 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprint(n, units[unit])
}
