package config

import (
	"regexp"
	"strconv"
	"strings"
)

//go:generate go test -run TestTheExampleFile -update .

// Example is a configuration file of every key at its default, each with its
// documentation. Loading it is the same as loading none.
func Example() []byte {
	c := Default()
	c.Host.Name = "" // the machine's, wherever the file is read
	var b strings.Builder
	b.WriteString(exampleHead)
	for _, k := range keys(&c) {
		depth := strings.Count(k.name, ".")
		if k.at == nil || depth == 0 {
			b.WriteString("\n")
		}
		k.writeExample(&b, strings.Repeat("  ", depth))
	}
	return []byte(b.String())
}

const exampleHead = `# The configuration of payload-manager: every key, what it means and its default.
# A key that is left out has its default. A key of the environment wins over this
# file (PAYLOAD_TIERS_RAM_CAPACITY=4GiB), a flag over both (--tiers.ram.capacity=4GiB).
# Unknown keys are refused. Sizes: 512MiB, 4GB. Durations: 200ms, 30s, 24h.
`

func (k key) writeExample(b *strings.Builder, indent string) {
	for _, line := range wrap(k.doc, exampleWidth-len(indent)-len("# ")) {
		b.WriteString(indent + "# " + line + "\n")
	}
	b.WriteString(indent + k.name[strings.LastIndex(k.name, ".")+1:] + ":")
	if k.at != nil {
		b.WriteString(" " + quoted(k.text()))
	}
	b.WriteString("\n")
}

const exampleWidth = 100

// plain is text that YAML reads as it stands.
var plain = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9/._-]*$`)

func quoted(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

// wrap breaks text into lines of at most width bytes where words allow.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
