package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/proto"
)

type row struct {
	file string
	size int64
	what string
	took time.Duration
}

func (s *story) note(file string, size int64, what string, took time.Duration) {
	s.rows = append(s.rows, row{file, size, what, took})
	fmt.Printf("  %s: %s (%v)\n", file, what, took.Round(10*time.Microsecond))
}

// pipeline runs the same as a Temporal workflow with two worker processes.
func (s *story) pipeline(files []string) error {
	fmt.Println("\nthe same as a Temporal pipeline: the workflow passes ids, two worker processes touch the bytes")
	address := s.stack.Config.Temporal.Address
	for _, queue := range []string{producers, consumers} {
		stop, err := s.workers(address, queue)
		if err != nil {
			return err
		}
		defer stop()
	}
	connection, err := client.DialContext(s.ctx, client.Options{HostPort: address, Logger: silent{}})
	if err != nil {
		return err
	}
	defer connection.Close()
	began := time.Now()
	run, err := connection.ExecuteWorkflow(s.ctx, client.StartWorkflowOptions{
		ID: "demo-pipeline", TaskQueue: producers, StaticSummary: "the demo's pipeline",
	}, Pipeline, files)
	if err != nil {
		return err
	}
	var steps []Step
	if err := run.Get(s.ctx, &steps); err != nil {
		return err
	}
	var total int64
	for _, step := range steps {
		total += step.Produced.Size
		s.traffic = s.traffic.plus(step.Produced.Traffic).plus(step.Consumed.Traffic)
		if _, err := s.client.Delete(s.ctx, step.Produced.ID); err != nil {
			return err
		}
	}
	s.note("all", total, fmt.Sprintf("a pipeline of %d activities writes and reads %d files", 2*len(steps), len(steps)), time.Since(began))
	return nil
}

// workers starts a worker process and returns when it polls.
func (s *story) workers(address, queue string) (stop func(), err error) {
	cmd := s.command("work", address, queue)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt) // one that ended by itself is waited for all the same
		_ = cmd.Wait()
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		return nil, fmt.Errorf("the worker of %s did not start: %w", queue, err)
	}
	return stop, nil
}

func (s *story) print() {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tSIZE\tWHAT\tTOOK")
	for _, r := range s.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\n", r.file, humanize.IBytes(uint64(r.size)), r.what, r.took.Round(10*time.Microsecond))
	}
	_ = w.Flush() // to the terminal, as everything else
}

// account says what went through the control plane, and fails if it was bytes
// of a payload.
func (s *story) account() error {
	calls := s.traffic.plus(s.counted.traffic())
	histories, err := s.histories()
	if err != nil {
		return err
	}
	fmt.Printf(`
through the control plane:
  gRPC, all processes        %d messages, %s, payload bytes found in them: %d
  Temporal, all histories    %d events of %d workflows, %s, payload bytes found in them: %d
`, calls.Messages, humanize.IBytes(uint64(calls.Bytes)), calls.Payload,
		histories.events, histories.workflows, humanize.IBytes(uint64(histories.bytes)), histories.payload)
	if calls.Payload+histories.payload > 0 {
		return errors.New("bytes of a payload went through the control plane")
	}
	return nil
}

type exported struct {
	workflows, events int
	bytes, payload    int64
}

// histories exports the history of every workflow, this demo's pipeline and
// every payload's lifecycle, and searches it.
func (s *story) histories() (out exported, err error) {
	connection, err := client.DialContext(s.ctx, client.Options{HostPort: s.stack.Config.Temporal.Address, Logger: silent{}})
	if err != nil {
		return out, err
	}
	defer connection.Close()
	var page []byte
	for {
		list, err := connection.ListWorkflow(s.ctx, &workflowservice.ListWorkflowExecutionsRequest{NextPageToken: page})
		if err != nil {
			return out, err
		}
		for _, w := range list.GetExecutions() {
			out.workflows++
			events := connection.GetWorkflowHistory(s.ctx, w.GetExecution().GetWorkflowId(), w.GetExecution().GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
			for events.HasNext() {
				event, err := events.Next()
				if err != nil {
					return out, err
				}
				text, err := proto.Marshal(event)
				if err != nil {
					return out, err
				}
				out.events++
				out.bytes += int64(len(text))
				out.payload += s.markers.found(text)
			}
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return out, nil
		}
	}
}
