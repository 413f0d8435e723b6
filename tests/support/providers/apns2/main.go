// What a push costs by Go's APNs client (github.com/sideshow/apns2), as a yardstick for ours.
//
//	apns2 FOLDER PORT KEY_ID TEAM_ID TOPIC PUSHES IN_FLIGHT
//
// FOLDER has the mock's cert.pem and the team's apns_key.p8. The first push opens the one connection and does
// not count. Says when it began and was done as processors/benchmarks/clock_line.py does, then how many pushes
// were accepted, and stays until it is told to end.
package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"
	"golang.org/x/net/http2"
)

const arguments = 7
const timeout = 30 * time.Second

// A sender of the pushes that have numbers, to devices that have the same.
type sender struct {
	client *apns2.Client
	topic  string
}

// The same headers and the same words as the other clients of the benchmark.
func (s sender) send(number int64) bool {
	id := newID()
	answer, err := s.client.Push(&apns2.Notification{
		ApnsID:      id,
		CollapseID:  id,
		DeviceToken: fmt.Sprintf("%064x", number+1),
		Topic:       s.topic,
		Priority:    apns2.PriorityHigh,
		PushType:    apns2.PushTypeAlert,
		Payload: map[string]any{
			"aps":     map[string]any{"alert": map[string]any{"title": "Your cart", "body": "is waiting"}},
			"push_id": id,
		},
	})
	return err == nil && answer.Sent()
}

func newID() string {
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		panic(err)
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
}

func newSender(folder, port, keyID, teamID, topic string) (sender, error) {
	key, err := token.AuthKeyFromFile(filepath.Join(folder, "apns_key.p8"))
	if err != nil {
		return sender{}, err
	}
	certificate, err := os.ReadFile(filepath.Join(folder, "cert.pem"))
	if err != nil {
		return sender{}, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(certificate) {
		return sender{}, errors.New("cert.pem holds no certificate")
	}
	client := apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: keyID, TeamID: teamID})
	client.Host = "https://localhost:" + port
	client.HTTPClient = &http.Client{
		Timeout:   timeout,
		Transport: &http2.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}},
	}
	return sender{client, topic}, nil
}

var started = time.Now()

// Prints the word with a clock that only grows, and this process's user and system time so far (s).
func say(word string) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	fmt.Println(word, time.Since(started).Seconds(), cpu.Seconds())
}

// How many of the pushes were accepted, with so many on their way at a time.
func sendAll(s sender, pushes, inFlight int64) int64 {
	var next, accepted atomic.Int64
	var all sync.WaitGroup
	for range make([]struct{}, inFlight) {
		all.Add(1)
		go func() {
			defer all.Done()
			for number := next.Add(1); number <= pushes; number = next.Add(1) {
				if s.send(number) {
					accepted.Add(1)
				}
			}
		}()
	}
	all.Wait()
	return accepted.Load()
}

func run(told []string) error {
	if len(told) != arguments {
		return fmt.Errorf("%d arguments, not %d", len(told), arguments)
	}
	pushes, err := strconv.ParseInt(told[5], 10, 64)
	if err != nil {
		return err
	}
	inFlight, err := strconv.ParseInt(told[6], 10, 64)
	if err != nil {
		return err
	}
	s, err := newSender(told[0], told[1], told[2], told[3], told[4])
	if err != nil {
		return err
	}
	if !s.send(0) {
		return errors.New("the first push, which opens the connection, was not accepted")
	}
	say("bench-begun")
	accepted := sendAll(s, pushes, inFlight)
	say("bench-done")
	fmt.Println("bench-accepted", accepted)
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, os.Interrupt)
	<-told
}
