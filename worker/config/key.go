package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A key is one setting of one Config: its name and meaning, and the field that
// holds its value. Sections are keys without a field.
type key struct {
	name string // "tiers.ram.capacity"
	doc  string
	at   any // *string, *bool, *int, *Size, *time.Duration; nil for a section
}

// keys lists the settings of c in the order of the struct, each section before
// its own.
func keys(c *Config) []key { return keysIn("", reflect.ValueOf(c).Elem()) }

func keysIn(prefix string, section reflect.Value) []key {
	var found []key
	for i := range section.NumField() {
		tag := section.Type().Field(i).Tag
		k := key{name: prefix + tag.Get("koanf"), doc: tag.Get("doc")}
		if section.Field(i).Kind() == reflect.Struct {
			found = append(append(found, k), keysIn(k.name+".", section.Field(i))...)
			continue
		}
		k.at = section.Field(i).Addr().Interface()
		found = append(found, k)
	}
	return found
}

// settings lists the keys that hold a value.
func settings(c *Config) []key {
	var found []key
	for _, k := range keys(c) {
		if k.at != nil {
			found = append(found, k)
		}
	}
	return found
}

// environmentPrefix begins the name of every variable that is a key.
const environmentPrefix = "PAYLOAD_"

// variable is the key's name in the environment.
func (k key) variable() string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// set reads text into the field. Its error has code Invalid and shows the text:
// what may be secret is a string, and every text is a string.
func (k key) set(text string) error {
	var err error
	switch at := k.at.(type) {
	case *string:
		*at = text
	case *bool:
		*at, err = strconv.ParseBool(text)
	case *int:
		*at, err = strconv.Atoi(text)
	case *Size:
		err = at.UnmarshalText([]byte(text))
	case *time.Duration:
		*at, err = time.ParseDuration(text)
	}
	if err != nil {
		return payload.Errorf(payload.Invalid, "%s: %q is not %s", k.name, text, k.form())
	}
	return nil
}

// form says how the value is written.
func (k key) form() string {
	switch k.at.(type) {
	case *bool:
		return "true or false"
	case *int:
		return "a whole number"
	case *Size:
		return "a size: write 512MiB or 4GB"
	case *time.Duration:
		return "a duration: write 200ms, 30s or 24h"
	default:
		return "text"
	}
}

// text is what set reads.
func (k key) text() string {
	switch at := k.at.(type) {
	case *string:
		return *at
	case *bool:
		return strconv.FormatBool(*at)
	case *int:
		return strconv.Itoa(*at)
	case *Size:
		return at.String()
	case *time.Duration:
		return shortDuration(*at)
	default:
		panic(fmt.Sprintf("config: %s has a type that no source can hold: %T", k.name, k.at))
	}
}

// shortDuration writes 24h where Duration.String writes 24h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
