package leases

// Compact compacts the journal of a table that has no reason to do so itself.
func (t *Table) Compact() error { return t.compact() }

// Whole returns the lengths of the records in a journal's file, up to the first
// that is not whole.
func Whole(file []byte) (lengths []int) {
	for at := headerSize; ; {
		r, whole := next(file[at:])
		if !whole {
			return lengths
		}
		at += len(r)
		lengths = append(lengths, len(r))
	}
}

const HeaderSize = headerSize
