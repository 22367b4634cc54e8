package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A format is how answers are written.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
	asID    format = "id"
)

// String, Set and Type make a format a flag.
func (f *format) String() string {
	if *f == "" {
		*f = asTable
	}
	return string(*f)
}

func (f *format) Set(text string) error {
	switch chosen := format(text); chosen {
	case asTable, asJSON, asID:
		*f = chosen
		return nil
	default:
		return payload.Errorf(payload.Invalid, "use table, json or id")
	}
}

func (f *format) Type() string { return "format" }

// An answer can be written in every format.
type answer interface {
	id() string
	// facts are the rows of a table about one thing: what, and how it is.
	facts() [][2]string
}

// show writes one answer. Its JSON is that of its exported fields.
func (t *terminal) show(a answer) error {
	switch t.format {
	case asJSON:
		return t.json(a)
	case asID:
		_, err := fmt.Fprintln(t.out, a.id())
		return err
	default:
		table := newTable(t.out)
		for _, fact := range a.facts() {
			if fact[1] != "" {
				table.row(fact[0], fact[1])
			}
		}
		return table.flush()
	}
}

func (t *terminal) json(value any) error {
	encoder := json.NewEncoder(t.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// A table aligns its columns.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table {
	const gap = 2
	return table{tabwriter.NewWriter(w, 0, 0, gap, ' ', 0)}
}

// row keeps what goes wrong for flush.
func (t table) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, cell)
	}
	fmt.Fprintln(t.w)
}

func (t table) flush() error { return t.w.Flush() }

// A line is one of many answers.
type line interface {
	id() string
	row() []string
}

// rows are answers that come one after the other.
type rows struct {
	terminal *terminal
	table    table
	pending  int // rows of the table that are not written yet
}

func (t *terminal) rows(header []string) *rows {
	r := &rows{terminal: t, table: newTable(t.out)}
	if t.format != asJSON && t.format != asID {
		r.table.row(header...)
		r.pending = 1
	}
	return r
}

// block is how many rows of a table are aligned with each other, so that long
// listings begin to appear before they end.
const block = 1000

func (r *rows) add(l line) error {
	switch r.terminal.format {
	case asJSON:
		return r.terminal.json(l)
	case asID:
		_, err := fmt.Fprintln(r.terminal.out, l.id())
		return err
	}
	r.table.row(l.row()...)
	if r.pending++; r.pending < block {
		return nil
	}
	return r.end()
}

func (r *rows) end() error {
	r.pending = 0
	return r.table.flush()
}
