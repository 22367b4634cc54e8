package payload

import (
	"regexp"
	"unicode"
	"unicode/utf8"
)

// DefaultNamespace is where payloads go whose producer names none.
const DefaultNamespace = "default"

var namespacePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// CheckNamespace accepts what can stand in a workflow id, a metric and a path
// alike: a DNS label of lower-case letters, digits and inner hyphens. Its error
// has code [Invalid].
func CheckNamespace(name string) error {
	if len(name) > MaxNamespace || !namespacePattern.MatchString(name) {
		return Errorf(Invalid, "namespace %q: use at most %d lower-case letters, digits and inner hyphens", clip(name), MaxNamespace)
	}
	return nil
}

// CheckName accepts a human's name for a payload: printable text of at most
// MaxName bytes, or none. It need not be unique. Its error has code [Invalid].
func CheckName(name string) error {
	if len(name) > MaxName || !utf8.ValidString(name) {
		return Errorf(Invalid, "a name is at most %d bytes of UTF-8", MaxName)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return Errorf(Invalid, "a name holds printable characters only")
		}
	}
	return nil
}
