package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A terminal is where a command runs: its streams and what holds for all
// commands.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	watched  bool // err is a terminal, so somebody sees progress
	now      func() time.Time

	address   string
	namespace string
	format    format
	timeout   time.Duration
}

// run carries out one command line and returns its exit code.
func (t *terminal) run(ctx context.Context, args []string) int {
	root := t.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	report(t.err, err)
	return exitCode(err)
}

const about = `payloadctl speaks to the payload-manager daemon of this machine.

Payloads are named by their id, a UUIDv7. Output is a table for people; -o json
writes one object a line, -o id only ids, both for scripts.

` + exitHelp

func (t *terminal) root() *cobra.Command {
	root := &cobra.Command{
		Use: "payloadctl", Short: "Put, read, lease, move and remove payloads", Long: about,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	t.flags(root)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		t.put(), t.cat(), t.get(), t.list(), t.resolve(), t.lease(),
		t.promote(), t.spill(), t.extend(), t.remove(), t.stats(), t.hosts(), t.version(),
	)
	for _, c := range append(root.Commands(), root) {
		if c.Args != nil {
			c.Args = usage(c.Args)
		}
	}
	return root
}

func (t *terminal) flags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&t.address, "address", "", "the daemon's socket or host:port on loopback (default $"+sdk.AddressVariable+", else its well-known socket)")
	flags.StringVarP(&t.namespace, "namespace", "n", "", "see and use only this namespace (default: put into \"default\", see all)")
	flags.VarP(&t.format, "output", "o", "table, json or id")
	flags.DurationVar(&t.timeout, "timeout", 0, "give up after this long (default: wait as long as it takes)")
	complete(root, "output", "table", "json", "id")
}

// usage marks what is wrong with arguments as the caller's error.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// complete offers the values of a flag to the shell.
func complete(c *cobra.Command, flag string, values ...string) {
	offer := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := c.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // the flag does not exist, or was completed before
	}
}

func tierNames() []string {
	var names []string
	for _, tier := range payload.Tiers() {
		names = append(names, string(tier))
	}
	return names
}

// A deed is what a command does with a daemon.
type deed func(ctx context.Context, client *sdk.Client, args []string) error

// with runs a deed on a client that is closed afterwards, within --timeout.
func (t *terminal) with(do deed) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		if t.timeout > 0 {
			bounded, cancel := context.WithTimeout(ctx, t.timeout)
			defer cancel()
			ctx = bounded
		}
		client, err := t.dial(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		return do(ctx, client, args)
	}
}

func (t *terminal) dial(ctx context.Context) (*sdk.Client, error) {
	var options []sdk.Option
	if t.namespace != "" {
		options = append(options, sdk.InNamespace(t.namespace))
	}
	return sdk.Dial(ctx, t.address, options...)
}

// withID runs a deed on the payload that the first argument names.
func (t *terminal) withID(do func(ctx context.Context, client *sdk.Client, id payload.ID) error) func(*cobra.Command, []string) error {
	return t.with(func(ctx context.Context, client *sdk.Client, args []string) error {
		id, err := payload.ParseID(args[0])
		if err != nil {
			return err
		}
		return do(ctx, client, id)
	})
}

// onePayload is a command about the one payload that its argument names.
func (t *terminal) onePayload(name, short string, do func(ctx context.Context, client *sdk.Client, id payload.ID) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " ID", Short: short, Args: cobra.ExactArgs(1), RunE: t.withID(do), ValidArgsFunction: t.offerIDs,
	}
}

// offerIDs completes ids, newest last, with their names beside them. A daemon
// that does not answer at once offers none.
func (t *terminal) offerIDs(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const most = 100
	const patience = time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := t.dial(ctx)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	var offers []string
	for record, err := range client.List(ctx, sdk.Filter{PageSize: most}) {
		if err != nil || len(offers) == most {
			break
		}
		if id := record.ID.String(); strings.HasPrefix(id, typed) {
			offers = append(offers, cobra.CompletionWithDesc(id, record.Name))
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}
