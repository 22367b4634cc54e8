package tiers

import (
	"strconv"
	"strings"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Label names one attempt at a placement inside a tier. Its text is the
// location of the tiers below: made of our own words only, so that no client
// can choose where bytes go, and telling what Walk has to report even where the
// storage could not say it, as for an upload that is not complete.
type Label struct {
	ID      payload.ID
	Attempt uint64
	Size    int64 // bytes
}

// String writes "id.attempt.size".
func (l Label) String() string {
	const longest = 36 + 1 + 20 + 1 + 19
	text := append(make([]byte, 0, longest), l.ID.String()...)
	text = strconv.AppendUint(append(text, '.'), l.Attempt, 10)
	return string(strconv.AppendInt(append(text, '.'), l.Size, 10))
}

// ParseLabel is the inverse of String. Text that String never wrote names
// nothing, and is NotFound.
func ParseLabel(text string) (Label, error) {
	id, rest, _ := strings.Cut(text, ".")
	attempt, size, _ := strings.Cut(rest, ".")
	var l Label
	var errs [3]error
	l.ID, errs[0] = payload.ParseID(id)
	l.Attempt, errs[1] = strconv.ParseUint(attempt, 10, 64)
	l.Size, errs[2] = strconv.ParseInt(size, 10, 64)
	if errs != [3]error{} || l.Size < 0 || l.String() != text {
		return Label{}, payload.Errorf(payload.NotFound, "the tier has no such location")
	}
	return l, nil
}
