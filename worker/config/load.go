package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Load returns the defaults with what file, environ and flags say over them,
// resolved and checked. File may be empty and flags nil; flags are those that
// [Flags] defined, after parsing, beside others that are none of ours. Environ
// is as os.Environ returns it; an empty variable counts as unset. Its errors
// have code Invalid and name the key.
func Load(file string, flags *pflag.FlagSet, environ []string) (Config, error) {
	return Default().With(file, flags, environ)
}

// With is Load over defaults other than Default.
func (c Config) With(file string, flags *pflag.FlagSet, environ []string) (Config, error) {
	for _, read := range []func(*Config) error{
		func(c *Config) error { return c.readFile(file) },
		func(c *Config) error { return c.readEnviron(environ) },
		func(c *Config) error { return c.readFlags(flags) },
	} {
		if err := read(&c); err != nil {
			return Config{}, err
		}
	}
	c = c.Resolve()
	return c, c.Check()
}

func (c *Config) readFile(file string) error {
	if file == "" {
		return nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return payload.Errorf(payload.Invalid, "the configuration file cannot be read: %w", withoutPath(err))
	}
	return c.readYAML(content)
}

func withoutPath(err error) error {
	if known, ok := errors.AsType[*fs.PathError](err); ok {
		return known.Err
	}
	return err
}

func (c *Config) readYAML(content []byte) error {
	layer := koanf.New(".")
	if err := layer.Load(rawbytes.Provider(content), yaml.Parser()); err != nil {
		return payload.Errorf(payload.Invalid, "the configuration file is not YAML of keys and values: %s", oneLine(err))
	}
	return c.take("file", layer.All())
}

// foreign are variables that begin like ours and are not: the client's, those
// of tests and pinned servers, and those that Kubernetes sets in every pod for
// a service whose name begins with payload.
var foreign = regexp.MustCompile(`^PAYLOAD_(ADDRESS|TEST_\w+|\w+_BIN|(\w+_)?SERVICE_HOST|(\w+_)?SERVICE_PORT(_\w+)?|(\w+_)?PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func (c *Config) readEnviron(environ []string) error {
	names := make(map[string]string) // of a key, by variable
	for _, k := range settings(c) {
		names[k.variable()] = k.name
	}
	var unknown error
	layer := koanf.New(".")
	err := layer.Load(env.Provider(".", env.Opt{
		Prefix:      environmentPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(variable, value string) (string, any) {
			name, known := names[variable]
			switch {
			case value == "", foreign.MatchString(variable):
				return "", nil
			case !known && unknown == nil:
				unknown = unknownName("environment variable", variable, variables(c))
			}
			return name, value
		},
	}), nil)
	if unknown != nil {
		return unknown
	}
	if err != nil {
		return err
	}
	return c.take("environment", layer.All())
}

func (c *Config) readFlags(flags *pflag.FlagSet) error {
	if flags == nil {
		return nil
	}
	layer := koanf.New(".")
	given := posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
		if _, ours := f.Value.(flagValue); !ours {
			return "", nil
		}
		return f.Name, f.Value.String()
	})
	if err := layer.Load(given, nil); err != nil {
		return err
	}
	return c.take("flags", layer.All())
}

// take sets the keys of one source.
func (c *Config) take(source string, values map[string]any) error {
	known := make(map[string]key)
	for _, k := range keys(c) {
		known[k.name] = k
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		k, ok := known[name]
		if !ok {
			return unknownName("key", name, names(c))
		}
		if err := k.take(values[name]); err != nil {
			return payload.Errorf(payload.Invalid, "in the %s, %w", source, bare(err))
		}
	}
	return nil
}

// take sets the key to a value as YAML has it. An empty section says nothing.
func (k key) take(value any) error {
	text, isText := value.(string)
	switch {
	case k.at == nil && isEmpty(value):
		return nil
	case k.at == nil:
		return payload.Errorf(payload.Invalid, "%s is a section: set the keys in it", k.name)
	case value == nil:
		return payload.Errorf(payload.Invalid, "%s has no value: give it one, or leave the key out", k.name)
	case isText:
		return k.set(text)
	case k.form() == "text", !isScalar(value):
		return payload.Errorf(payload.Invalid, "%s takes %s, in quotes where YAML sees something else", k.name, k.form())
	default:
		return k.set(fmt.Sprint(value))
	}
}

func isEmpty(value any) bool {
	section, ok := value.(map[string]any)
	return value == nil || ok && len(section) == 0
}

func isScalar(value any) bool {
	switch value.(type) {
	case bool, int, int64, uint64, float64:
		return true
	default:
		return false
	}
}

// bare is err without its code, to stand inside another.
func bare(err error) error {
	if known, ok := errors.AsType[*payload.Error](err); ok {
		return known.Err
	}
	return err
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
