// Reads all views that are named on stdin by clickhouse-go over HTTP, with each of its ways to compress.
package main

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

func rows(db *sql.DB, query string, arguments ...any) (int, error) {
	found, err := db.Query(query, arguments...)
	if err != nil {
		return 0, err
	}
	defer found.Close()
	count := 0
	for found.Next() {
		count++
	}
	return count, found.Err()
}

func main() {
	ways := map[string]clickhouse.CompressionMethod{
		"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4, "gzip": clickhouse.CompressionGZIP,
	}
	var queries []string
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		queries = append(queries, lines.Text())
	}
	failed := false
	for name, way := range ways {
		db := clickhouse.OpenDB(&clickhouse.Options{
			Addr:        []string{os.Getenv("CLICKHOUSE_ADDRESS")},
			Protocol:    clickhouse.HTTP,
			Auth:        clickhouse.Auth{Database: "optin", Username: "analyst", Password: os.Getenv("CLICKHOUSE_PASSWORD")},
			Compression: &clickhouse.Compression{Method: way},
		})
		if err := db.Ping(); err != nil {
			fmt.Println("FAIL", name, "ping", err)
			failed = true
		}
		for _, query := range queries {
			count, err := rows(db, query)
			if err != nil {
				fmt.Println("FAIL", name, query, err)
				failed = true
				continue
			}
			fmt.Println("OK", name, query, count)
		}
		count, err := rows(db, "SELECT number, toString(number) FROM numbers(?)", 100000)
		if err != nil || count != 100000 {
			fmt.Println("FAIL", name, "parameters", count, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}
