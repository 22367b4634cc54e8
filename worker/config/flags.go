package config

import (
	"errors"

	"github.com/spf13/pflag"
)

// Flags defines one flag for each key, named like it, with its documentation
// and its default.
func Flags(flags *pflag.FlagSet) {
	c := Default()
	for _, k := range settings(&c) {
		flag := flags.VarPF(flagValue{k}, k.name, "", k.doc)
		if _, isBool := k.at.(*bool); isBool {
			flag.NoOptDefVal = "true"
		}
	}
}

// FlagError says of an unknown flag which one was probably meant, and returns
// other errors as they are.
func FlagError(err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	c := Default()
	var known []string
	for _, name := range names(&c) {
		known = append(known, "--"+name)
	}
	return unknownName("flag", "--"+unknown.GetSpecifiedName(), known)
}

// A flagValue holds one key for pflag. It is checked as it is parsed.
type flagValue struct{ key key }

func (v flagValue) Set(text string) error {
	if err := v.key.set(text); err != nil {
		return bare(err)
	}
	return nil
}

func (v flagValue) String() string {
	if v.key.at == nil {
		return "" // pflag asks a zero value for what it prints as empty
	}
	return v.key.text()
}

func (v flagValue) Type() string {
	switch v.key.at.(type) {
	case *string:
		return "text"
	case *bool:
		return "bool"
	case *int:
		return "number"
	case *Size:
		return "size"
	default:
		return "duration"
	}
}
