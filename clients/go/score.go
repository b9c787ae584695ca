// Scores a record over the gateway's REST API, with nothing but the standard library:
//
//	go run score.go http://localhost:8000 record.json
//
// The caller's key, if the gateway wants one, is read from PRAGMATIQ_API_KEY.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

type request struct {
	Record    json.RawMessage `json:"record"`
	Embedding bool            `json:"embedding"`
}

type answer struct {
	RequestID string `json:"request_id"`
	Model     struct {
		Run  string `json:"run"`
		Hash string `json:"hash"`
	} `json:"model"`
	Scores    map[string]float64 `json:"scores"`
	Embedding []float32          `json:"embedding"`
	Error     *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// One client for all calls: it keeps connections open.
var client = &http.Client{Timeout: 5 * time.Second}

func score(url string, record []byte) (*answer, error) {
	body, err := json.Marshal(request{Record: record, Embedding: true})
	if err != nil {
		return nil, err
	}
	call, err := http.NewRequest(http.MethodPost, url+"/v1/score", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	call.Header.Set("Content-Type", "application/json")
	call.Header.Set("X-Timeout-Ms", "5000")
	if key := os.Getenv("PRAGMATIQ_API_KEY"); key != "" {
		call.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := client.Do(call)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var found answer
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		return nil, fmt.Errorf("%s: %w", response.Status, err)
	}
	if found.Error != nil {
		// 429 and 503 may be tried again, after the seconds that the header Retry-After names.
		return nil, fmt.Errorf("%s: %s: %s", response.Status, found.Error.Code, found.Error.Message)
	}
	return &found, nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: score URL RECORD.json")
	}
	record, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	found, err := score(os.Args[1], record)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}
