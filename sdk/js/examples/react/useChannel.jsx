// A hook that follows a channel, and a component that uses it. For React 18 and 19.
import { useEffect, useState } from 'react'
import { Chappe } from '@chappe/client'

/** The newest `last` messages of a channel, how many were lost, and what ended it. */
export function useChannel(client, name, last = 20) {
  const [seen, setSeen] = useState({ messages: [], lost: 0 })
  useEffect(() => {
    setSeen({ messages: [], lost: 0 })
    const channel = client.channel(name).rewind(last)
    channel
      .on('message', (m) => setSeen((s) => ({ ...s, messages: [...s.messages, m].slice(-last) })))
      .on('gap', (g) => setSeen((s) => ({ ...s, lost: s.lost + (g.count || 1) })))
      .on('error', (error) => setSeen((s) => ({ ...s, error })))
    return () => channel.close()
  }, [client, name, last])
  return seen
}

const here = new Chappe('http://127.0.0.1:8080')

export function Chat({ room, client = here }) {
  const { messages, lost, error } = useChannel(client, `chat.${room}`)
  const [text, setText] = useState('')
  const [unsent, setUnsent] = useState('')
  const send = async (e) => {
    e.preventDefault()
    try {
      await client.publish(`chat.${room}`, { text }) // waits, while there is no connection
      setText('')
      setUnsent('')
    } catch (e) {
      setUnsent(e.message)
    }
  }
  return (
    <form onSubmit={send}>
      {lost > 0 && <p>{lost} messages were lost</p>}
      {error && <p>{error.message}</p>}
      <ul>{messages.map((m) => <li key={m.stamp}>{m.data.text}</li>)}</ul>
      <input value={text} onChange={(e) => setText(e.target.value)} />
      {unsent && <p>not sent: {unsent}</p>}
    </form>
  )
}
